//! An edit made again on another frame than the one that it was made on.

use super::said;
use crate::addr::Addr;
use crate::ibgib::{IDENTITY, IbGib, Verified};
use crate::transform::{Moment, Mut8Opts, RESERVED, Rel8Opts, TransformError, attribute, linked, mut8, rel8, revise};
use std::collections::BTreeMap;

/// What makes on `onto` the change that `edit` made to `before`, the frame that it follows: all three merge, and where `onto`
/// has something else there, what `edit` says stays. The frames tell maker and time of `edit`, so that whoever makes it
/// again makes the same ones. Dependencies first; nothing when `onto` says that already. Open conflicts stay those of `onto`.
///
/// # Errors
/// The product is no valid frame.
pub fn reapply(
    onto: &Verified<IbGib>,
    edit: &Verified<IbGib>,
    before: &Verified<IbGib>,
) -> Result<Vec<Verified<IbGib>>, TransformError> {
    let moment = Moment { now_ms: Moment::of(edit).unwrap_or_default(), random: [0; 16] };
    let wanted = said([before, edit, onto]);
    let mut nodes = Vec::new();
    let mut frame = onto.clone();
    if wanted.ib != frame.ib {
        let ib = Some(wanted.ib.clone());
        let opts = Mut8Opts { mut8_ib: ib, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        let next = mut8(&frame, &opts, &moment)?;
        nodes.extend(next.nodes());
        frame = next.frame;
    }
    if let Some(next) = revise(&frame, &wanted.data, &moment)? {
        nodes.extend(next.nodes());
        frame = next.frame;
    }
    let now = said([&frame, &frame, &frame]).rel8ns;
    let (add, remove) = (beyond(&wanted.rel8ns, &now), beyond(&now, &wanted.rel8ns));
    if !add.is_empty() || !remove.is_empty() {
        let linked_rel8ns = linked();
        let opts = Rel8Opts { add, remove, dna: true, n_counter: true, linked_rel8ns, ..Rel8Opts::default() };
        nodes.extend(rel8(&frame, &opts, &moment)?.nodes());
    }
    attribute(nodes, edit.last_rel8n(IDENTITY).as_ref())
}

/// By relation, the addresses that `these` have and `those` have not.
fn beyond(these: &BTreeMap<String, Vec<Addr>>, those: &BTreeMap<String, Vec<Addr>>) -> Vec<(String, Vec<Addr>)> {
    let lists = these.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())).map(|(name, list)| {
        let there = those.get(name).map(Vec::as_slice).unwrap_or_default();
        (name.clone(), list.iter().filter(|addr| !there.contains(addr)).cloned().collect::<Vec<_>>())
    });
    lists.filter(|(_, list)| !list.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Map, Mode, Value};
    use crate::transform::{ForkOpts, content, fork};

    fn moment(n: i64) -> Moment {
        Moment { now_ms: 1_767_225_600_000 + n, random: [7; 16] }
    }

    fn map(text: &str) -> Map {
        Value::parse(text, Mode::Strict).unwrap().as_object().unwrap().clone()
    }

    /// A timeline whose frames say this, one after the other.
    fn timeline(contents: &[&str]) -> Vec<Verified<IbGib>> {
        let first = fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline("note"), &moment(0)).unwrap();
        let mut frames = vec![first.frame];
        for (n, said) in contents.iter().enumerate() {
            let next = revise(frames.last().unwrap(), &map(said), &moment(n as i64 + 1)).unwrap().unwrap();
            frames.push(next.frame);
        }
        frames
    }

    fn said(nodes: &[Verified<IbGib>]) -> Option<Map> {
        nodes.last().map(|frame| content(frame))
    }

    #[test]
    fn a_change_is_made_elsewhere_without_what_was_between() {
        let frames = timeline(&[
            r#"{"text":"one\ntwo\nthree\n","title":"a"}"#,
            r#"{"text":"one\nSPAM\ntwo\nthree\n","title":"a","spam":1}"#,
            r#"{"text":"one\nSPAM\ntwo\nthree\nfour\n","title":"b","spam":1}"#,
        ]);
        let made = reapply(&frames[1], &frames[3], &frames[2]).unwrap();
        assert_eq!(said(&made), Some(map(r#"{"text":"one\ntwo\nthree\nfour\n","title":"b"}"#)));
        // The same at the same time, so that it is the same frame wherever it is made.
        assert_eq!(made, reapply(&frames[1], &frames[3], &frames[2]).unwrap());
        let time = |frame: &IbGib| [frame.datum("timestamp").cloned(), frame.datum("timestampMs").cloned()];
        assert_eq!(time(made.last().unwrap()), time(&frames[3]));
    }

    #[test]
    fn what_it_built_on_stays_as_it_made_it_and_nothing_is_made_of_nothing() {
        let frames = timeline(&[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
        assert_eq!(said(&reapply(&frames[1], &frames[3], &frames[2]).unwrap()), Some(map(r#"{"a":3}"#)));
        assert_eq!(reapply(&frames[2], &frames[2], &frames[1]).unwrap(), []);
    }

    #[test]
    fn relations_ib_and_maker_go_with_it() {
        let [one, two, alice] = ["A", "B", "C"].map(|digit| Addr::new("other", &digit.repeat(64)).unwrap());
        let mut frames = timeline(&[r#"{"a":1}"#]);
        for (n, to) in [&one, &two].into_iter().enumerate() {
            let opts = Rel8Opts {
                add: vec![("knows".into(), vec![to.clone()])],
                dna: true,
                n_counter: true,
                linked_rel8ns: linked(),
                ..Rel8Opts::default()
            };
            let next = rel8(frames.last().unwrap(), &opts, &moment(n as i64 + 9)).unwrap();
            frames.push(attribute(vec![next.frame], Some(&alice)).unwrap().pop().unwrap());
        }
        let made = reapply(&frames[1], &frames[3], &frames[2]).unwrap();
        let made = made.last().unwrap();
        assert_eq!((made.rel8n_addrs("knows"), made.rel8n_addrs(IDENTITY)), (vec![two], vec![alice]));
        let opts = Mut8Opts {
            mut8_ib: Some("named".into()),
            dna: true,
            n_counter: true,
            linked_rel8ns: linked(),
            ..Mut8Opts::default()
        };
        let named = mut8(&frames[3], &opts, &moment(20)).unwrap().frame;
        assert_eq!(reapply(&frames[1], &named, &frames[3]).unwrap().last().unwrap().ib, "named");
    }
}
