//! Conflicts: what a merge recorded of a place that both sides changed, and settling it.
//!
//! A merge goes on with one of the values and relates its frame to a *conflict stone* that tells the others, so that
//! nobody's edit is lost. The stone stays with the timeline's frames until somebody settles it: with an edit that puts
//! the value chosen where it belongs, and a frame without the stone.

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};
use crate::json::{Map, Mode, Value, pointer};
use crate::merge::{ConflictSides, find_in_document, settle_document};
use crate::transform::{self, Moment, TransformError, content};

type Node = Verified<IbGib>;

/// One conflict, as its stone tells it. The values are what the merge saw; `None` where there was none, or where it
/// was too large for a stone. Where both sides replaced the same lines of a text or elements of a list, they are those;
/// inside a document that a text is, they are JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The stone that records it.
    pub stone: Addr,
    /// Where in the frame: a JSON pointer, `/data/…` for data; after `/data/text#` one into the document that the text is.
    pub path: String,
    /// What both sides had.
    pub ancestor: Option<Value>,
    /// What the merge's base had.
    pub base: Option<Value>,
    /// What the other side had.
    pub orphan: Option<Value>,
}

/// How a conflict is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// What stands there now is right.
    Keep,
    /// The base's value.
    Base,
    /// The other side's value.
    Orphan,
    /// The value from before.
    Ancestor,
}

impl Conflict {
    /// What a conflict stone tells.
    pub fn of(stone: &Node) -> Self {
        let value = |name| stone.datum(name).cloned();
        Self {
            stone: stone.addr().clone(),
            path: stone.datum("path").and_then(Value::as_str).unwrap_or_default().to_owned(),
            ancestor: value("ancestor"),
            base: value("base"),
            orphan: value("orphan"),
        }
    }

    /// What stands at the place in a frame of the timeline, the whole text or list where only a part of it is in conflict;
    /// inside a document that a text is, as it is written there.
    pub fn now(&self, frame: &IbGib) -> Option<Value> {
        let data = frame.data.as_ref()?;
        if let Some(place) = self.path.strip_prefix(DOCUMENT) {
            let text = data.get(TEXT).and_then(Value::as_str)?;
            return find_in_document(text, place).map(Value::from);
        }
        data.down(&pointer::names(self.path.strip_prefix(DATA)?)?).cloned()
    }

    /// The value that a resolution chooses; none where that side had none, and of [`Resolution::Keep`].
    pub fn chosen(&self, resolution: Resolution) -> Option<&Value> {
        match resolution {
            Resolution::Keep => None,
            Resolution::Base => self.base.as_ref(),
            Resolution::Orphan => self.orphan.as_ref(),
            Resolution::Ancestor => self.ancestor.as_ref(),
        }
    }

    /// The data with the value chosen in the place of what the merge left there; `None` where that does not stand there.
    fn settled(&self, data: &Map, chosen: Option<&Value>) -> Option<Map> {
        if let Some(place) = self.path.strip_prefix(DOCUMENT) {
            let side = |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::to_owned);
            let [base, orphan, chosen] = [self.base.as_ref(), self.orphan.as_ref(), chosen].map(side);
            let text = settled_text(data.get(TEXT)?.as_str()?, place, &[base, orphan, chosen])?;
            let mut data = data.clone();
            data.insert(TEXT, text);
            return Some(data);
        }
        let place = self.path.strip_prefix(DATA)?;
        let names = pointer::names(place)?;
        let whole = Value::from(data.clone());
        if whole.down(&names).is_none() {
            // Nothing stands there, as one side had it.
            let mut data = data.clone();
            return pointer::put(&mut data, &names, chosen.cloned()).then_some(data);
        }
        // Data is a document like any other.
        let sides = [self.base.as_ref(), self.orphan.as_ref(), chosen].map(|value| value.map(Value::to_json));
        match Value::parse(&settled_text(&whole.to_json(), place, &sides)?, Mode::Strict) {
            Ok(Value::Object(data)) => Some(data),
            _ => None,
        }
    }
}

/// How the paths of conflicts in data begin, and of those inside the document that a file's text is.
const DATA: &str = "/data";
const DOCUMENT: &str = "/data/text#";
const TEXT: &str = "text";

fn settled_text(now: &str, place: &str, [base, orphan, chosen]: &[Option<String>; 3]) -> Option<String> {
    let sides = ConflictSides { base: base.as_deref(), orphan: orphan.as_deref(), chosen: chosen.as_deref() };
    settle_document(now, place, sides)
}

/// The frames after `frame` that settle a conflict: the value chosen, then without the stone. Dependencies first; the
/// last is the new frame. `None` when what the merge left does not stand there any more, or the conflict is not about
/// data; then only [`Resolution::Keep`] is possible.
///
/// # Errors
/// When the frames would break a rule of their timeline.
pub fn settle(
    frame: &Node,
    conflict: &Conflict,
    resolution: Resolution,
    moment: &Moment,
) -> Result<Option<Vec<Node>>, TransformError> {
    let mut nodes = Vec::new();
    let mut on = frame.clone();
    if resolution != Resolution::Keep {
        let Some(data) = conflict.settled(&content(frame), conflict.chosen(resolution)) else { return Ok(None) };
        if let Some(made) = transform::revise(frame, &data, moment)? {
            nodes.extend(made.nodes());
            on = made.frame;
        }
    }
    nodes.extend(transform::drop_conflicts(&on, vec![conflict.stone.clone()], moment)?.nodes());
    Ok(Some(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::History;
    use crate::transform::{ForkOpts, fork, revise};

    fn moment(now_ms: i64) -> Moment {
        Moment { now_ms, random: [7; 16] }
    }

    /// A merge frame of edits that both wrote member `v` (`left`, `right`; `None` takes it away), and its conflict.
    fn merged(before: Option<Value>, left: Option<Value>, right: Option<Value>) -> (Node, Conflict) {
        let opts = ForkOpts::timeline("note");
        let first = fork(&IbGib::primitive("note").unwrap(), &opts, &moment(0)).unwrap();
        let mut history = History::new();
        history.insert(first.frame.clone());
        let mut edit = |frame: &Node, value: Option<Value>| {
            let data = Map::from_iter(value.into_iter().map(|v| ("v", v)).chain([("other", true.into())]));
            let made = revise(frame, &data, &moment(1_000)).unwrap().unwrap();
            made.nodes().into_iter().for_each(|node| history.insert(node));
            made.frame
        };
        let old = edit(&first.frame, before);
        let (left, right) = (edit(&old, left), edit(&old, right));
        let joined = history.join(left.addr(), right.addr()).unwrap();
        let find = |addr: &Addr| joined.nodes.iter().find(|node| node.addr() == addr).unwrap().clone();
        let frame = find(&joined.tip);
        let [stone] = &frame.rel8n_addrs("conflict")[..] else { panic!("{}", frame.to_json()) };
        let conflict = Conflict::of(&find(stone));
        (frame, conflict)
    }

    fn settled(frame: &Node, conflict: &Conflict, resolution: Resolution) -> Option<Value> {
        let nodes = settle(frame, conflict, resolution, &moment(9)).unwrap().unwrap();
        let last = nodes.last().unwrap();
        assert_eq!((last.rel8n("conflict").count(), last.tjp()), (0, frame.tjp()));
        assert!(nodes[0].addr() != last.addr() && last.n() > frame.n());
        content(last).get("v").cloned()
    }

    #[test]
    fn each_value_can_be_chosen() {
        let values = [Some("a".into()), Some(7u32.into()), Some(vec![Value::Null].into()), None];
        for left in &values {
            for right in values.iter().filter(|right| *right != left) {
                let before = Some(Value::from("before"));
                let (frame, conflict) = merged(before.clone(), left.clone(), right.clone());
                assert_eq!(conflict.path, "/data/v");
                assert_eq!(conflict.ancestor, before);
                let stands = conflict.now(&frame);
                assert_eq!(settled(&frame, &conflict, Resolution::Keep), stands);
                assert_eq!(settled(&frame, &conflict, Resolution::Ancestor), before);
                let sides = [Resolution::Base, Resolution::Orphan].map(|side| settled(&frame, &conflict, side));
                assert!(sides.contains(left) && sides.contains(right), "{sides:?}");
            }
        }
    }

    #[test]
    fn lines_are_chosen_where_both_sides_stand() {
        let text = |middle: &str| Some(Value::from(format!("# Shopping\n{middle}\nthe end of it\n")));
        let (frame, conflict) = merged(text("milk"), text("apples"), text("bread"));
        let both = format!(
            "{}\n{}",
            conflict.base.as_ref().unwrap().as_str().unwrap(),
            conflict.orphan.as_ref().unwrap().as_str().unwrap()
        );
        assert_eq!(conflict.now(&frame), text(&both));
        assert_eq!(settled(&frame, &conflict, Resolution::Ancestor), text("milk"));
        // Edited since: only what stands there can be kept.
        let data = Map::from_iter([("v", text("rice").unwrap())]);
        let later = revise(&frame, &data, &moment(5)).unwrap().unwrap().frame;
        assert_eq!(settle(&later, &conflict, Resolution::Base, &moment(9)).unwrap(), None);
        assert_eq!(settled(&later, &conflict, Resolution::Keep), text("rice"));
    }
}
