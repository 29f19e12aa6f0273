//! Under which conditions was it measured? All that somebody needs to repeat it, for below the table.

use playground::binaries::Binaries;

use crate::Args;
use crate::cells::Cell;
use crate::systems::System;

/// Which sources were built, as git told `bench/compare` when it built them.
const COMMIT: Option<&str> = option_env!("FRESHET_COMMIT");

/// The conditions, one a line.
pub(crate) fn lines(binaries: &Binaries, args: &Args, rounds: u32, cells: &[Cell]) -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let mut lines = vec![
        format!(
            "{}, Linux {}; servers on CPU {}, load on CPU {}; load average at the end {}",
            model.map_or("unknown CPU", |(_, model)| model),
            read("/proc/sys/kernel/osrelease").trim(),
            args.servers_cpu,
            args.load_cpu,
            read("/proc/loadavg").trim(),
        ),
        format!(
            "commit {}; rounds: {rounds}{}; activities of real-data: {}",
            COMMIT.unwrap_or("unknown, as this was not built by bench/compare"),
            if args.quick { ", --quick" } else { "" },
            match &args.data {
                Some(path) => path.display().to_string(),
                None => "made up, of the sizes of real ones".to_owned(),
            },
        ),
    ];
    for system in System::ALL {
        lines.push(format!("{}: {}; {}", system.name(), system.version(binaries), system.settings()));
    }
    lines.extend(cells.iter().map(|cell| format!("cell {}: {}", cell.name, cell.settings())));
    lines
}
