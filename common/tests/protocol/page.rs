//! Reads `docs/protocol.md`: its headings, tables and examples. It knows Markdown only as far as that page uses it.

/// The page itself.
pub(crate) const PAGE: &str = include_str!("../../../docs/protocol.md");

/// A heading and what stands below it, up to the next heading of the same or a higher level.
pub(crate) struct Section {
    pub(crate) heading: &'static str,
    pub(crate) body: &'static str,
}

/// One line of a transcript: `speaker → hearer   message`.
pub(crate) struct Step {
    pub(crate) parties: [&'static str; 2],
    pub(crate) line: &'static str,
}

/// The sections of the messages, in order: those whose heading is a command in backticks.
pub(crate) fn messages() -> Vec<Section> {
    let mut sections = sections("### ");
    sections.retain_mut(|section| match command(section.heading) {
        Some(command) => {
            section.heading = command;
            true
        }
        None => false,
    });
    sections
}

/// The one section of the second level with this heading.
pub(crate) fn chapter(heading: &str) -> Section {
    let mut found = sections("## ");
    found.retain(|section| section.heading == heading);
    assert_eq!(found.len(), 1, "chapters called {heading:?}");
    found.remove(0)
}

/// The rows of the tables in `body` whose first column is called `first`: their cells, without backticks.
pub(crate) fn rows(body: &'static str, first: &str) -> Vec<Vec<&'static str>> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in body.lines() {
        let Some(inner) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<_> = inner.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        if in_table && !cells[0].starts_with("---") {
            rows.push(cells);
        } else if cells[0] == first {
            in_table = true;
        }
    }
    rows
}

/// The messages that stand in the fenced blocks of `body`, in examples and transcripts: of every line, what begins with a brace.
pub(crate) fn lines(body: &'static str) -> Vec<&'static str> {
    let fenced = body.split("```").skip(1).step_by(2);
    fenced.flat_map(str::lines).filter_map(|line| Some(&line[line.find('{')?..])).collect()
}

/// Every line of every transcript.
pub(crate) fn transcripts() -> Vec<Step> {
    let step = |text: &'static str| {
        let (parties, _) = text.split_at(text.find('{')?);
        let (speaker, hearer) = parties.split_once('→')?;
        Some(Step { parties: [speaker.trim(), hearer.trim()], line: &text[parties.len()..] })
    };
    PAGE.split("```").skip(1).step_by(2).flat_map(str::lines).filter_map(step).collect()
}

fn sections(level: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut start: Option<(&'static str, usize)> = None;
    let mut offset = 0;
    for line in PAGE.split_inclusive('\n') {
        let depth = line.bytes().take_while(|&byte| byte == b'#').count();
        if depth > 0 && depth < level.len() {
            if let Some((heading, from)) = start.take() {
                sections.push(Section { heading, body: &PAGE[from..offset] });
            }
            start = line.strip_prefix(level).map(|heading| (heading.trim(), offset + line.len()));
        }
        offset += line.len();
    }
    if let Some((heading, from)) = start {
        sections.push(Section { heading, body: &PAGE[from..] });
    }
    sections
}

fn command(heading: &'static str) -> Option<&'static str> {
    heading.strip_prefix('`')?.strip_suffix('`')
}
