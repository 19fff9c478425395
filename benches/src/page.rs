//! The page with figures, docs/performance.md: each command writes a section of its own, and leaves the others.

use crate::Res;
use std::io::ErrorKind;
use std::path::Path;

/// The heading of the section about many timelines.
pub(crate) const MANY_TIMELINES: &str = "Many timelines";

/// Writes the section with this heading to the page, in the place of what it said before.
pub(crate) fn write(file: &Path, heading: &str, text: &str) -> Res<()> {
    let old = match std::fs::read_to_string(file) {
        Ok(old) => old,
        Err(error) if error.kind() == ErrorKind::NotFound => "# Performance\n".to_owned(),
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    Ok(std::fs::write(file, put(&old, heading, text))?)
}

fn put(page: &str, heading: &str, text: &str) -> String {
    let section = format!("\n## {heading}\n\n{}\n", text.trim());
    let Some(start) = page.find(&format!("\n## {heading}\n")) else { return format!("{page}{section}") };
    let rest = &page[start + 1..];
    let end = rest.find("\n## ").map_or(page.len(), |at| start + 1 + at);
    format!("{}{section}{}", &page[..start], &page[end..])
}

/// By which command something was measured, and where.
pub(crate) fn measured(rounds: usize) -> Res<String> {
    measured_as(&format!("medians of {rounds} rounds"))
}

/// As [`measured`], but `how` says which figures these are.
pub(crate) fn measured_as(how: &str) -> Res<String> {
    let cores = std::thread::available_parallelism()?;
    let again: Vec<String> = std::env::args().skip(1).collect();
    let command = again.join(" ");
    Ok(format!("Written by `cargo run --release -p ibgib-bench -- {command}`: {how}, {cores} cores."))
}

#[cfg(test)]
mod tests {
    use super::put;

    #[test]
    fn a_section_is_put_in_its_place() {
        let page = put(&put("# Performance\n", "One", "1\n"), "Two", "2");
        assert_eq!(page, "# Performance\n\n## One\n\n1\n\n## Two\n\n2\n");
        assert_eq!(put(&page, "One", "3"), page.replace('1', "3"));
        assert_eq!(put(&page, "Two", "3"), page.replace('2', "3"));
    }
}
