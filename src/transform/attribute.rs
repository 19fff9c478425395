//! Who made a frame.

use super::TransformError;
use crate::addr::Addr;
use crate::ibgib::{IDENTITY, IbGib, Verified};
use crate::json::{Value, strings};
use std::collections::HashMap;

/// The same nodes with every edit among them said to be made by `identity`, the first frame of a keystone; by nobody
/// without one. What the frame that was edited says of its own maker never stays. First frames and stones are as they
/// were; frames that follow one another still do.
///
/// # Errors
/// [`TransformError::Product`] when a frame has no room for it.
pub fn attribute(nodes: Vec<Verified<IbGib>>, identity: Option<&Addr>) -> Result<Vec<Verified<IbGib>>, TransformError> {
    let mut now: HashMap<Addr, Addr> = HashMap::new();
    let mut out = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(past) = node.past().filter(|_| node.tjp().is_some()) else {
            out.push(node);
            continue;
        };
        let mut frame = (*node).clone();
        let Some(rel8ns) = frame.rel8ns.as_mut().and_then(Value::as_object_mut) else { continue };
        if let Some(past) = now.get(&past) {
            rel8ns.insert("past", strings([past.as_str()]));
        }
        match identity {
            Some(identity) => drop(rel8ns.insert(IDENTITY, strings([identity.as_str()]))),
            None => drop(rel8ns.remove(IDENTITY)),
        }
        let made = frame.seal()?;
        now.insert(node.addr().clone(), made.addr().clone());
        out.push(made);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{ForkOpts, Moment, Mut8Opts, TjpOpts, fork, linked, mut8};
    use super::*;

    const MOMENT: Moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };

    fn next(frame: &Verified<IbGib>, text: &str) -> Vec<Verified<IbGib>> {
        let patch = Some([("text", text)].into_iter().collect());
        let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        mut8(frame, &opts, &MOMENT).unwrap().nodes()
    }

    #[test]
    fn every_edit_names_its_own_maker_and_frames_still_follow_one_another() {
        let tjp = Some(TjpOpts { uuid: true, timestamp: true });
        let opts = ForkOpts { dest_ib: Some("note".into()), tjp, dna: true, n_counter: true, ..ForkOpts::default() };
        let first = fork(&IbGib::primitive("note").unwrap(), &opts, &MOMENT).unwrap();
        let [alice, bob] = ["A", "B"].map(|digit| Addr::new("keystone", &digit.repeat(64)).unwrap());
        let one = next(&first.frame, "one");
        let two = next(one.last().unwrap(), "two");
        let made = attribute([first.nodes(), one, two].concat(), Some(&alice)).unwrap();
        assert_eq!(made[..2], first.nodes()[..]);
        let frames: Vec<_> = made.iter().filter(|node| node.past().is_some()).collect();
        assert_eq!(frames[0].past().as_ref(), Some(first.frame.addr()));
        assert_eq!(frames[1].past().as_ref(), Some(frames[0].addr()));
        assert!(frames.iter().all(|frame| frame.rel8n_addrs(IDENTITY) == [alice.clone()]));
        // It is no dependency.
        assert!(!frames[1].targets().contains(&alice) && frames[1].targets().contains(frames[0].addr()));
        for who in [Some(&bob), None] {
            let three = attribute(next(frames[1], "three"), who).unwrap();
            assert_eq!(three.last().unwrap().rel8n_addrs(IDENTITY), who.cloned().into_iter().collect::<Vec<_>>());
        }
    }
}
