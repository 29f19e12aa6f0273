use slotmap::SlotMap;

use super::*;

fn position(text: &str) -> Position {
    let streams: Vec<_> =
        text.split_whitespace().map(|stream| format!("a/0000000000000001/{stream}")).collect();
    streams.join(",").parse().unwrap()
}

fn catch_up() -> (CatchUp, LinkId, LinkId) {
    let mut keys = SlotMap::<LinkId, ()>::with_key();
    let (one, other) = (keys.insert(()), keys.insert(()));
    let mut catch_up = CatchUp::new(Duration::from_secs(5));
    catch_up.linked(one);
    catch_up.linked(other);
    (catch_up, one, other)
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

#[test]
fn what_a_new_neighbour_holds_is_asked_for_at_once_piece_by_piece() {
    let (mut catch_up, one, other) = catch_up();
    assert!(catch_up.is_under_way(), "they have not said what they hold");
    catch_up.told(one, position("0-9"), &position("0-3"), false);
    catch_up.told(other, position("0-9"), &position("0-3"), false);
    let question = catch_up.next(at(0), &position("0-3")).unwrap();
    assert_eq!((question.link, question.wanted), (one, position("4-9")));
    assert_eq!(catch_up.next(at(0), &position("0-3")), None, "one question at a time");
    assert!(catch_up.is_asked(one, question.request));
    catch_up.answered(false, None);
    assert!(!catch_up.is_asked(one, question.request));
    let question = catch_up.next(at(0), &position("0-6")).unwrap();
    assert_eq!(question.wanted, position("7-9"));
    catch_up.answered(true, None);
    assert_eq!(catch_up.next(at(0), &position("0-9")), None, "nor is the other one asked for the same");
    assert!(!catch_up.is_under_way());
}

#[test]
fn after_a_piece_the_next_one_waits_for_its_time() {
    let (mut catch_up, one, _) = catch_up();
    catch_up.told(one, position("0-9"), &position("0"), false);
    assert!(catch_up.next(at(0), &position("0")).is_some());
    catch_up.answered(false, Some(at(2)));
    assert_eq!(catch_up.deadline(), Some(at(2)));
    catch_up.give_up(at(1));
    assert_eq!(catch_up.next(at(1), &position("0-3")), None);
    assert!(catch_up.is_under_way(), "there is more");
    catch_up.give_up(at(2));
    assert_eq!(catch_up.next(at(2), &position("0-3")).unwrap().wanted, position("4-9"));
}

#[test]
fn what_a_worker_lets_go_of_before_it_came_is_gone_when_nobody_else_holds_it() {
    let (mut catch_up, one, other) = catch_up();
    let told =
        |catch_up: &mut CatchUp, link, holds| catch_up.told(link, position(holds), &position("0"), false);
    assert_eq!(told(&mut catch_up, one, "0-9"), position(""));
    assert_eq!(told(&mut catch_up, other, "0-9"), position(""));
    assert_eq!(told(&mut catch_up, one, "5-9"), position(""), "another one holds it");
    assert_eq!(told(&mut catch_up, other, "3-9"), position("1-2"));
}

#[test]
fn what_may_be_on_its_way_is_asked_for_when_it_is_still_missing_the_next_time() {
    let (mut catch_up, one, _) = catch_up();
    catch_up.told(one, position("0"), &position("0"), false);
    catch_up.told(one, position("0-4"), &position("0-2"), false);
    assert_eq!(catch_up.next(at(0), &position("0-2")), None);
    catch_up.told(one, position("0-6"), &position("0-3"), false);
    assert_eq!(catch_up.next(at(0), &position("0-3")).unwrap().wanted, position("4"));
}

/// A worker had asked all before it went on, and one of them got what was missing then from its own waiting list into its log.
#[test]
fn where_something_waits_for_what_is_missing_it_is_asked_for_at_once() {
    let (mut catch_up, one, _) = catch_up();
    catch_up.told(one, position("0"), &position("0"), false);
    catch_up.told(one, position("0-4"), &position("0+4"), true);
    assert_eq!(catch_up.next(at(0), &position("0+4")).unwrap().wanted, position("1-3"));
}

#[test]
fn who_does_not_answer_or_is_gone_is_not_waited_for() {
    let (mut catch_up, one, other) = catch_up();
    for link in [one, other] {
        catch_up.told(link, position("0-4"), &position("0"), false);
    }
    let first = catch_up.next(at(0), &position("0")).unwrap();
    assert_eq!(catch_up.deadline(), Some(at(5)));
    catch_up.give_up(at(4));
    assert_eq!(catch_up.next(at(4), &position("0")), None);
    catch_up.give_up(at(5));
    let second = catch_up.next(at(5), &position("0")).unwrap();
    assert_eq!((first.link, second.link), (one, other));
    catch_up.lost(other);
    assert_eq!((catch_up.deadline(), catch_up.is_under_way()), (None, false));
}

#[test]
fn what_comes_with_an_answer_is_not_asked_for_and_what_is_missing_besides_is() {
    let (mut catch_up, one, _) = catch_up();
    catch_up.told(one, position("0-9"), &position("0"), false);
    let question = catch_up.next(at(0), &position("0")).unwrap();
    catch_up.jumped(one, &position("1-3"));
    catch_up.jumped(one, &position("11"));
    assert_eq!(catch_up.next(at(0), &position("0+4")), None, "the answer is being looked at");
    catch_up.answered(true, None);
    assert_eq!(question.wanted, position("1-9"));
    assert_eq!(catch_up.next(at(0), &position("0-8")).unwrap().wanted, position("11"));
}

#[test]
fn before_something_is_given_up_all_are_asked_once_what_they_hold_and_waited_for_but_not_for_long() {
    let (mut catch_up, one, other) = catch_up();
    for link in [one, other] {
        catch_up.told(link, position("0"), &position("0"), false);
    }
    assert!(catch_up.inquire(at(1), at(1)));
    assert!(!catch_up.inquire(at(2), at(1)), "they are being asked");
    catch_up.told(one, position("0-1"), &position("0"), false);
    assert_eq!(catch_up.next(at(2), &position("0")).unwrap().wanted, position("1"), "at once");
    catch_up.answered(true, None);
    assert!(catch_up.is_under_way(), "the other one has not said");
    assert_eq!(catch_up.deadline(), Some(at(3)));
    catch_up.give_up(at(3));
    assert!(!catch_up.is_under_way() && !catch_up.inquire(at(3), at(1)));
    assert!(catch_up.inquire(at(3), at(2)), "that has begun to wait since");
    assert!(!CatchUp::new(Duration::ZERO).inquire(at(3), at(2)), "nobody can be asked");
}

#[test]
fn what_nobody_holds_is_lost_when_everybody_has_said_so_for_a_while() {
    let (mut catch_up, one, other) = catch_up();
    let nothing = position("");
    catch_up.told(one, position("0-3+8-9"), &nothing, false);
    assert_eq!(catch_up.lost_for_all(at(0), position("4-7")), nothing, "one has said nothing");
    catch_up.told(other, position("0-4+8-9"), &nothing, false);
    catch_up.holders.values_mut().for_each(|holder| holder.wanted = nothing.clone());
    assert_eq!(catch_up.lost_for_all(at(1), position("4-7")), nothing);
    assert_eq!(catch_up.lost_for_all(at(13), position("4-7")), nothing, "it may wait for its turn somewhere");
    assert_eq!(
        catch_up.lost_for_all(at(14), position("4-5+7")),
        position("5+7"),
        "somebody holds 4, and 6 came"
    );
    assert_eq!(catch_up.lost_for_all(at(15), position("4")), nothing);
    assert_eq!(
        CatchUp::new(Duration::ZERO).lost_for_all(at(9), position("4")),
        nothing,
        "nobody can be asked"
    );
}

#[test]
fn what_is_missing_in_front_of_what_came_by_is_asked_for_at_once() {
    let (mut catch_up, one, _) = catch_up();
    catch_up.told(one, position("0"), &position("0"), false);
    catch_up.jumped(one, &position("1-3"));
    assert_eq!(catch_up.next(at(0), &position("0+4")).unwrap().wanted, position("1-3"));
}
