use super::*;

fn address(port: u16) -> Address {
    Address::new("10.0.0.1", port).unwrap()
}

fn coordinator(port: u16) -> Target {
    Target::Coordinator(address(port))
}

fn entry(port: u16, role: Role) -> BackupEntry {
    BackupEntry { id: None, address: address(port), role }
}

fn route(ports: &[u16]) -> Route {
    Route::new(ports.iter().copied().map(address).collect(), Vec::new(), 2)
}

fn begin(route: &mut Route) -> Target {
    route.begin(Time::ZERO, &mut fastrand::Rng::with_seed(7))
}

fn unreachable(route: &mut Route, target: &Target) -> Option<Target> {
    route.unreachable(Time::ZERO, target, &mut fastrand::Rng::with_seed(7))
}

fn list(servers: Vec<BackupEntry>) -> BackupList {
    BackupList { servers, token: None }
}

#[test]
fn coordinators_are_tried_in_turn_then_the_last_worker_then_there_is_a_pause() {
    let mut route = route(&[1, 2]);
    assert_eq!(begin(&mut route), coordinator(1));
    assert_eq!(unreachable(&mut route, &coordinator(1)), Some(coordinator(2)));
    assert_eq!(unreachable(&mut route, &coordinator(2)), None, "there is no last worker yet");
    route.arrived(None, address(9));
    assert_eq!(begin(&mut route), coordinator(1));
    unreachable(&mut route, &coordinator(1)).unwrap();
    let last = unreachable(&mut route, &coordinator(2)).unwrap();
    assert_eq!(last, Target::LastResort(Redirect { address: address(9), token: None }));
    assert_eq!(unreachable(&mut route, &last), None);
}

/// Somebody ran `client send` after the last coordinator had gone. The servers file listed two workers, which would have let them in.
#[test]
fn who_was_at_no_worker_yet_goes_to_any_that_is_remembered_and_none_is_asked_twice_in_a_round() {
    let servers = vec![entry(8, Role::Worker), entry(9, Role::Worker), entry(2, Role::Main)];
    let mut route = Route::new(vec![address(1)], servers, 2);
    let mut asked = std::collections::BTreeSet::new();
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let mut target = route.begin(Time::ZERO, &mut rng);
        for _ in 0..2 {
            assert!(target.is_coordinator(), "{target:?}");
            target = route.unreachable(Time::ZERO, &target, &mut rng).unwrap();
        }
        assert!(matches!(target, Target::LastResort(_)) && target.token().is_none(), "{target:?}");
        asked.insert(target.address().port);
        assert_eq!(route.unreachable(Time::ZERO, &target, &mut rng), None);
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), [8, 9]);
}

#[test]
fn a_last_worker_that_is_gone_too_leaves_the_others() {
    let mut route = route(&[1]);
    route.arrived(None, address(9));
    route.learn(Time::ZERO, list(vec![entry(8, Role::Worker), entry(1, Role::Main)]));
    let round = |route: &mut Route, seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let first = route.begin(Time::ZERO, &mut rng);
        let last = route.unreachable(Time::ZERO, &first, &mut rng).unwrap();
        assert_eq!(route.unreachable(Time::ZERO, &last, &mut rng), None);
        last.address().port
    };
    assert_eq!(round(&mut route, 0), 9);
    let asked: std::collections::BTreeSet<u16> = (0..50).map(|seed| round(&mut route, seed)).collect();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), [8, 9], "it may come back as well");
}

#[test]
fn a_worker_does_not_tell_of_itself_and_is_remembered_all_the_same() {
    let mut route = route(&[1]);
    route.arrived("w9".parse().ok(), address(9));
    let learned = route.learn(Time::ZERO, list(vec![entry(1, Role::Main)])).unwrap();
    let ours = BackupEntry { id: "w9".parse().ok(), ..entry(9, Role::Worker) };
    assert_eq!(learned, [ours, entry(1, Role::Main)]);
    assert_eq!(route.learn(Time::ZERO, list(vec![entry(1, Role::Main)])), None, "it is no news");
}

#[test]
fn the_next_round_begins_with_the_coordinator_that_answered() {
    let mut route = route(&[1, 2]);
    begin(&mut route);
    unreachable(&mut route, &coordinator(1)).unwrap();
    assert_eq!(begin(&mut route), coordinator(2));
}

#[test]
fn nobody_is_sent_round_in_circles() {
    let mut route = route(&[1]);
    let redirect = Redirect { address: address(9), token: None };
    assert!(route.redirected(redirect.clone()).is_some() && route.redirected(redirect.clone()).is_some());
    assert_eq!(route.redirected(redirect.clone()), None);
    begin(&mut route);
    assert_eq!(route.sent_on(&coordinator(1), address(2)), Some(coordinator(2)));
    assert_eq!(route.sent_on(&coordinator(2), address(1)), Some(coordinator(1)));
    assert_eq!(route.sent_on(&coordinator(1), address(2)), None);
}

#[test]
fn who_sent_us_on_in_vain_is_not_asked_again_in_the_same_round() {
    let mut route = route(&[1, 2, 3]);
    assert_eq!(begin(&mut route), coordinator(1));
    let main = route.sent_on(&coordinator(1), address(2)).unwrap();
    assert_eq!(unreachable(&mut route, &main), Some(coordinator(3)));
    // The same dead one once more.
    let main = route.sent_on(&coordinator(3), address(2)).unwrap();
    assert_eq!(unreachable(&mut route, &main), None);
    // One that we did not know counts for nobody.
    begin(&mut route);
    let stranger = route.sent_on(&coordinator(1), address(7)).unwrap();
    assert!(matches!(unreachable(&mut route, &stranger), Some(Target::Coordinator(_))));
}

#[test]
fn whom_the_only_coordinator_that_is_known_names_is_not_the_only_one() {
    // It had just fallen silent, and was waited for as one waits for the only one there is: for longer than the command had.
    let mut route = route(&[1]);
    assert!(!route.has_a_choice());
    assert_eq!(route.sent_on(&coordinator(1), address(7)), Some(coordinator(7)));
    assert!(route.has_a_choice() && route.is_main(&coordinator(7)));
    assert_eq!(unreachable(&mut route, &coordinator(7)), None, "then there is a pause");
    assert_eq!(begin(&mut route), coordinator(1));
}

#[test]
fn a_list_says_where_to_begin_and_those_given_come_last() {
    let mut route = route(&[1, 2]);
    let servers = vec![
        entry(9, Role::Worker),
        entry(8, Role::Worker),
        entry(3, Role::Backup),
        entry(2, Role::Main),
        entry(4, Role::Seeking),
    ];
    let learned = route.learn(Time::ZERO, list(servers.clone())).expect("it is news").to_vec();
    assert_eq!(learned[..2], [entry(8, Role::Worker), entry(9, Role::Worker)]);
    assert_eq!(route.order, [2, 3, 4, 1].map(address));
    let mut shuffled = servers;
    shuffled.swap(0, 1);
    assert_eq!(route.learn(Time::ZERO, list(shuffled)), None, "the workers come shuffled every time");
    assert_eq!(route.learn(Time::ZERO, list(vec![entry(8, Role::Worker)])), None);
    assert_eq!(begin(&mut route), coordinator(2), "a list without coordinators makes us forget none");
}

#[test]
fn an_absurd_list_is_cut() {
    let mut route = route(&[1]);
    let servers = (1..=5_000).flat_map(|port| [entry(port, Role::Backup), entry(port, Role::Worker)]);
    assert_eq!(
        route.learn(Time::ZERO, list(servers.collect())).unwrap().len(),
        limits::WORKERS + limits::MEMBERS
    );
    assert_eq!(route.order.len(), limits::MEMBERS);
}

#[test]
fn who_loses_a_worker_goes_to_another_at_random_by_its_token_and_then_to_the_coordinators() {
    let mut route = route(&[1, 2]);
    route.arrived(None, address(9));
    let servers =
        vec![entry(9, Role::Worker), entry(8, Role::Worker), entry(7, Role::Worker), entry(1, Role::Main)];
    route.learn(Time::ZERO, BackupList { servers: servers.clone(), token: Some("t".to_owned()) });
    route.learn(Time::ZERO, list(servers));
    let mut rng = fastrand::Rng::with_seed(7);
    let mut chosen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let target = route.begin(Time::ZERO, &mut rng);
        assert_eq!((target.token(), target.is_coordinator()), (Some("t"), false));
        chosen.insert(target.address().port);
    }
    assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [7, 8], "the lost one is not among them");

    let elsewhere = begin(&mut route);
    assert_eq!(unreachable(&mut route, &elsewhere), Some(coordinator(1)));
    unreachable(&mut route, &coordinator(1)).unwrap();
    let last = unreachable(&mut route, &coordinator(2)).unwrap();
    assert_eq!(last, Target::LastResort(Redirect { address: address(9), token: Some("t".to_owned()) }));

    let late = Time::ZERO + limits::TOKEN_LIFE;
    assert_eq!(route.begin(late, &mut rng), coordinator(1), "it has expired");
    assert!(!begin(&mut route).is_coordinator());
    route.refused(&elsewhere);
    assert_eq!(begin(&mut route), coordinator(1), "it is worth nothing");
}
