//! Once nothing is wrong any more there is one main coordinator. All others follow it and are listed, all know the same users, every worker
//! is with it, and it says itself that all is well.

use std::collections::BTreeSet;

use common::wire::{Role, State};

use super::{Scene, Verdict};

/// Whether it is so. It may take a while after the last fault.
pub fn whole(scene: &Scene<'_>) -> Verdict {
    let main = scene.main().ok_or("there is no main coordinator")?;
    let main_name = scene.name(main);
    for &id in scene.cast.coordinators.iter().filter(|&&id| id != main) {
        let role = scene.role_of(id);
        if role != Some(Role::Backup) {
            return Err(format!("{} is {role:?} beside the main coordinator {main_name}", scene.name(id)));
        }
        same_store(scene, main, id)?;
    }
    let status = scene.coordinator(main).ok_or("the main coordinator is down")?.status(false);
    let others = scene.cast.coordinators.len() - 1;
    let listed =
        status.coordinators.iter().filter(|other| other.listed && other.server.id != status.id).count();
    if listed != others {
        return Err(format!("{main_name} lists {listed} of {others} backups: {:?}", status.coordinators));
    }
    if status.state != State::Normal {
        return Err(format!("{main_name} says {:?}: {:?}", status.state, status.reasons));
    }
    let known: BTreeSet<_> = status
        .workers
        .iter()
        .filter(|worker| worker.connected)
        .map(|worker| &worker.server.address)
        .collect();
    if let Some(&lost) = scene.cast.workers.iter().find(|&&id| !known.contains(&scene.world[id].address)) {
        return Err(format!("{} is not with {main_name}", scene.name(lost)));
    }
    let users = scene.disks.of(main).users();
    let conflicts = users.conflicts().count() as u64;
    if status.users != users.len() as u64 || status.conflict_count != conflicts {
        return Err(format!(
            "{main_name} says that it has {} users and {} conflicts, and has {} and {conflicts} on disk",
            status.users,
            status.conflict_count,
            users.len()
        ));
    }
    Ok(())
}

/// Whether two disks hold the same.
fn same_store(scene: &Scene<'_>, main: super::ProcessId, other: super::ProcessId) -> Verdict {
    let (one, two) = (scene.disks.of(main), scene.disks.of(other));
    let who = format!("{} and {}", scene.name(main), scene.name(other));
    if one.group().network != two.group().network || one.group().token_key != two.group().token_key {
        return Err(format!("{who} are of two networks"));
    }
    if let Some((key @ (name, id), record)) =
        one.records().iter().find(|(key, record)| two.records().get(key) != Some(record))
    {
        let other = two.records().get(key);
        return Err(format!("{who} differ in the registration {id} of {name}: {record:?}, {other:?}"));
    }
    if let Some(((name, id), _)) = two.records().iter().find(|(key, _)| !one.records().contains_key(key)) {
        return Err(format!("{who} differ: only the second has the registration {id} of {name}"));
    }
    if one.seen() != two.seen() {
        return Err(format!("{who} know for certain {:?} and {:?}", one.seen(), two.seen()));
    }
    Ok(())
}
