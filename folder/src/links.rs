//! Where symbolic links lead.
//!
//! A link is synced as what it says, never as what it leads to, and nobody here follows one. Other programs do: so a
//! link that comes from elsewhere must not lead them out of the folder. It may go up first and down then; going down
//! and up again could leave the folder by way of another link.

use crate::path::{EntryPath, encode};

/// Why a link is not synced.
pub(crate) type Problem = &'static str;

pub(crate) const OUTSIDE: Problem = "a symbolic link that leads outside the folder";
pub(crate) const THROUGH: Problem = "a symbolic link that leads through another link";
const CONTROL: Problem = "a symbolic link that leads to a name that is never touched";
const WINDS: Problem = "a symbolic link that goes down and up again";

/// What the link at `path` leads to by its text alone; `None` for the folder itself.
pub(crate) fn leads_to(path: &EntryPath, target: &[u8]) -> Result<Option<EntryPath>, Problem> {
    if target.is_empty() || target.starts_with(b"/") {
        return Err(OUTSIDE);
    }
    let above = path.parent();
    let mut at: Vec<String> = above.iter().flat_map(|dir| dir.as_str().split('/')).map(str::to_owned).collect();
    let mut down = false;
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if down => return Err(WINDS),
            b".." => drop(at.pop().ok_or(OUTSIDE)?),
            name => {
                down = true;
                at.push(encode(name));
            }
        }
    }
    if at.is_empty() {
        return Ok(None);
    }
    let to = EntryPath::spelled(at.join("/"));
    match to.check() {
        Err(problem) if !problem.is_unportable() => Err(CONTROL),
        _ => Ok(Some(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_down_or_up_and_then_down() {
        let path = EntryPath::from_key("/a/b/link").unwrap();
        let to = |target: &str| leads_to(&path, target.as_bytes()).map(|to| to.map(|to| to.to_string()));
        assert_eq!(to("x"), Ok(Some("a/b/x".into())));
        assert_eq!(to("./x//y/"), Ok(Some("a/b/x/y".into())));
        assert_eq!(to("../../x"), Ok(Some("x".into())));
        assert_eq!(to("../.."), Ok(None));
        for outside in ["", "/", "/etc/passwd", "../../..", "../../../x"] {
            assert_eq!(to(outside), Err(OUTSIDE), "{outside}");
        }
        assert_eq!(to("x/../y"), Err(WINDS));
        for control in ["../../.ibgib/secret", ".git/config", "../.HG", "x\\.git"] {
            assert_eq!(to(control), Err(CONTROL), "{control}");
        }
    }
}
