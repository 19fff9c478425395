//! [`Outline`]: what a node's text says, checked and hashed without making values of it.
//!
//! Almost every node is read to be passed on or to be walked over, and its text is what [`IbGib::to_json`] prints. Such
//! a text is hashed as it stands, members put in order; whatever is spelled in another way, or could break a rule, has no
//! outline and is read as any JSON. So an outline is never found where [`IbGib::verify`] would refuse, and the text is
//! what would be printed again.
//!
//! [`IbGib::to_json`]: super::IbGib::to_json
//! [`IbGib::verify`]: super::IbGib::verify

use crate::addr::Addr;
use crate::json::{BYTES_MAX, VALUES_MAX};
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Deeper nesting is read as any JSON, so that recursion has an end far from the stack's.
const DEPTH: usize = 24;
/// An integer with more digits may print otherwise.
const DIGITS: usize = 15;
/// Values that a text has besides those that are counted, and more.
const OTHER_VALUES: usize = 8;

/// What a text begins with.
const IB: &str = "{\"ib\":\"";
/// What follows the name.
const GIB: &str = ",\"gib\":\"";

/// A node's text without the gib, which follows from the rest.
pub(super) fn cut_gib(text: &str, addr: &Addr) -> String {
    let start = IB.len() + addr.ib().len() + 1;
    let end = start + GIB.len() + addr.gib().len() + 1;
    [&text[..start], &text[end..]].concat()
}

/// Where an address stands in a text, if it does.
type Place = Option<Range<usize>>;

/// What a text says of a node.
pub(super) struct Outline {
    /// Where the text of `rel8ns` stands; empty where there is none.
    rel8ns: Range<usize>,
    /// Where the addresses of the last `tjp` and of the last `past` stand.
    tjp: Place,
    past: Place,
    pub(super) is_tjp: bool,
    pub(super) n: Option<u64>,
    /// How many values it has.
    pub(super) values: usize,
}

impl Outline {
    /// The outline of a node's text, and the node's address, if the gib is the one that the content gives.
    pub(super) fn of(text: &str) -> Option<(Addr, Self)> {
        let mut reader = Reader::new(text);
        let ib = reader.name(IB)?;
        let gib = reader.name(GIB)?;
        let (addr, outline) = reader.rest(ib)?;
        (addr.gib() == gib).then_some((addr, outline))
    }

    /// The same of a text without the gib, and the text with it.
    pub(super) fn without_gib(text: &str) -> Option<(Addr, Self, String)> {
        let mut reader = Reader::new(text);
        let ib = reader.name(IB)?;
        let at = reader.at;
        let (addr, mut outline) = reader.rest(ib)?;
        let gib = [GIB, addr.gib(), "\""].concat();
        let shift = |span: Range<usize>| span.start + gib.len()..span.end + gib.len();
        if !outline.rel8ns.is_empty() {
            outline.rel8ns = shift(outline.rel8ns);
            (outline.tjp, outline.past) = (outline.tjp.map(shift), outline.past.map(shift));
        }
        let text = [&text[..at], &gib, &text[at..]].concat();
        (text.len() <= BYTES_MAX).then_some((addr, outline, text))
    }

    /// The address of the last `tjp`.
    pub(super) fn tjp<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.tjp.clone().map(|span| &text[span])
    }

    /// The address of the last `past`.
    pub(super) fn past<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.past.clone().map(|span| &text[span])
    }

    /// The addresses that relations name, with the relations' names, in their order in the text.
    pub(super) fn relations<'a>(&self, text: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        // Neither names nor addresses have quotes, so each second piece is one.
        let mut pieces = text[self.rel8ns.clone()].split('"').skip(1);
        let mut name = "";
        std::iter::from_fn(move || {
            loop {
                let (inside, after) = (pieces.next()?, pieces.next()?);
                if !after.starts_with(':') {
                    return Some((name, inside));
                }
                name = inside;
            }
        })
    }
}

/// A member of an object that is being read: where its name stands in the text, and it whole in what is hashed.
struct Member {
    name: Range<usize>,
    whole: Range<usize>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Values read.
    values: usize,
    /// What is hashed of the part that is being read.
    hashed: Vec<u8>,
    /// The members of the objects that are open, those of the innermost last.
    members: Vec<Member>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, values: 0, hashed: Vec::with_capacity(text.len()), members: Vec::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, what: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(what.as_bytes()).then(|| self.at += what.len())
    }

    /// What follows `before` up to the next quote, without escapes.
    fn name(&mut self, before: &str) -> Option<&'a str> {
        self.skip(before)?;
        let span = self.plain()?;
        Some(&self.text[span])
    }

    /// Reads to the end of a string that has no escapes; answers where it stands, without its quotes.
    fn plain(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..];
        let len = bytes.iter().position(|b| *b == b'"')?;
        let is_plain = !bytes[..len].iter().fold(false, |found, b| found | (*b < 0x20) | (*b == b'\\'));
        self.at += len + 1;
        is_plain.then_some(start..start + len)
    }

    /// What follows ib and gib.
    fn rest(mut self, ib: &str) -> Option<(Addr, Outline)> {
        if self.text.len() > BYTES_MAX {
            return None;
        }
        let (mut data, mut is_tjp, mut n, mut is_lists) = (None, false, None, false);
        if self.skip(",\"data\":").is_some() {
            self.skip("{")?;
            if self.peek()? == b'}' {
                return None;
            }
            is_lists = true;
            self.object(1, true, |name, value| {
                is_lists &= value.starts_with('[');
                match name {
                    "isTjp" => is_tjp = boolean(value)?,
                    "n" => n = Some(value.to_owned()),
                    _ => {}
                }
                Some(())
            })?;
            data = Some(self.hash());
        }
        let (mut rel8ns, mut tjp, mut past) = (0..0, None, None);
        let mut rel8ns_hash = None;
        if self.skip(",\"rel8ns\":").is_some() {
            let start = self.at;
            (tjp, past) = self.rel8ns()?;
            rel8ns = start..self.at;
            rel8ns_hash = Some(self.hash());
        } else if is_lists {
            // It might hash as relations would.
            return None;
        }
        self.skip("}")?;
        if self.at != self.text.len() || self.values + OTHER_VALUES > VALUES_MAX || (is_tjp && tjp.is_some()) {
            return None;
        }
        let is_frame = is_tjp || tjp.is_some();
        let n = match n {
            Some(n) if is_frame => Some(n.parse().ok().filter(|_| n.len() <= DIGITS)?),
            Some(n) => n.parse().ok().filter(|_| n.len() <= DIGITS),
            None => None,
        };
        let mut whole = Sha256::new();
        whole.update(hex(Sha256::digest(ib.as_bytes()).into()));
        for part in [rel8ns_hash, data].into_iter().flatten() {
            whole.update(part);
        }
        let hash = hex(whole.finalize().into());
        let mut addr = String::with_capacity(ib.len() + 2 * hash.len() + 2);
        addr.push_str(ib);
        addr.push('^');
        addr.extend(hash.iter().map(|digit| char::from(*digit)));
        if let Some(tjp) = &tjp {
            addr.push('.');
            addr.push_str(self.text[tjp.clone()].split_once('^')?.1);
        }
        Some((addr.parse().ok()?, Outline { rel8ns, tjp, past, is_tjp, n, values: self.values }))
    }

    /// The hash of what was read since the last one.
    fn hash(&mut self) -> [u8; 64] {
        let hash = Sha256::digest(&self.hashed);
        self.hashed.clear();
        hex(hash.into())
    }

    /// Relations: arrays of addresses, one of them not empty. Answers where the address of the `tjp` stands, and where that
    /// of the last `past` does.
    fn rel8ns(&mut self) -> Option<(Place, Place)> {
        self.skip("{")?;
        let (first, base) = (self.members.len(), self.hashed.len());
        self.hashed.push(b'{');
        let (mut tjp, mut past, mut some) = (None, None, false);
        loop {
            let (name, start) = self.member()?;
            let (mut last, mut count) = (None, 0);
            self.skip("[")?;
            self.values += 2;
            let items = self.at;
            while self.skip("]").is_none() {
                if count > 0 {
                    self.skip(",")?;
                }
                self.skip("\"")?;
                let item = self.plain()?;
                Addr::check(&self.text[item.clone()]).ok()?;
                (count, some) = (count + 1, true);
                self.values += 1;
                last = Some(item);
            }
            match &self.text[name.clone()] {
                "tjp" if count != 1 => return None,
                "tjp" => tjp = last,
                "past" => past = last,
                _ => {}
            }
            self.hashed.push(b'[');
            self.hashed.extend_from_slice(&self.text.as_bytes()[items..self.at]);
            if !self.member_ends(name, start)? {
                break;
            }
        }
        self.arrange(first, base)?;
        some.then_some((tjp, past))
    }

    /// The name of a member; answers where it stands, and where the member begins in what is hashed.
    fn member(&mut self) -> Option<(Range<usize>, usize)> {
        if self.values > VALUES_MAX {
            return None;
        }
        let start = self.hashed.len();
        let from = self.at;
        self.skip("\"")?;
        let name = self.plain()?;
        let text = &self.text.as_bytes()[name.clone()];
        // Numbers come first when members are listed, and others than these letters are not in the order of their bytes.
        if !text.is_ascii() || text.first().is_some_and(u8::is_ascii_digit) || text == b"__proto__" {
            return None;
        }
        self.skip(":")?;
        self.hashed.extend_from_slice(&self.text.as_bytes()[from..self.at]);
        Some((name, start))
    }

    /// After a member: whether another one follows.
    fn member_ends(&mut self, name: Range<usize>, start: usize) -> Option<bool> {
        self.members.push(Member { name, whole: start..self.hashed.len() });
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => self.hashed.push(b','),
            b'}' => self.hashed.push(b'}'),
            _ => return None,
        }
        Some(next == b',')
    }

    /// Puts the members of an object that was read in order, where they are not. None may be there twice.
    fn arrange(&mut self, first: usize, base: usize) -> Option<()> {
        let text = self.text.as_bytes();
        let members = &mut self.members[first..];
        let name = |member: &Member| &text[member.name.clone()];
        if !members.is_sorted_by(|a, b| name(a) < name(b)) {
            members.sort_unstable_by(|a, b| name(a).cmp(name(b)));
            if members.windows(2).any(|pair| name(&pair[0]) == name(&pair[1])) {
                return None;
            }
            let mut sorted = Vec::with_capacity(self.hashed.len() - base);
            for member in members {
                sorted.push(if sorted.is_empty() { b'{' } else { b',' });
                sorted.extend_from_slice(&self.hashed[member.whole.clone()]);
            }
            sorted.push(b'}');
            self.hashed.truncate(base);
            self.hashed.append(&mut sorted);
        }
        self.members.truncate(first);
        Some(())
    }

    /// The rest of an object, which has a member. `sorted`: it is hashed with its members in order, as those are that no
    /// array contains.
    fn object(
        &mut self,
        depth: usize,
        sorted: bool,
        mut each: impl FnMut(&'a str, &'a str) -> Option<()>,
    ) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        let (first, base) = (self.members.len(), self.hashed.len());
        self.values += 1;
        self.hashed.push(b'{');
        loop {
            let (name, start) = self.member()?;
            let from = self.at;
            self.value(depth, sorted)?;
            each(&self.text[name.clone()], &self.text[from..self.at])?;
            if !self.member_ends(name, start)? {
                break;
            }
        }
        if sorted {
            return self.arrange(first, base);
        }
        let text = self.text;
        let mut names: Vec<&str> = self.members.drain(first..).map(|member| &text[member.name]).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1]).then_some(())
    }

    fn value(&mut self, depth: usize, sorted: bool) -> Option<()> {
        match self.peek()? {
            b'{' => {
                self.at += 1;
                if self.peek()? != b'}' {
                    return self.object(depth + 1, sorted, |_, _| Some(()));
                }
                self.at += 1;
                self.hashed.extend_from_slice(b"{}");
            }
            b'[' => return self.array(depth + 1),
            b'"' => self.string()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        self.values += 1;
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        self.at += 1;
        self.values += 1;
        self.hashed.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
            self.hashed.push(b']');
            return Some(());
        }
        loop {
            self.value(depth, false)?;
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => self.hashed.push(b','),
                b']' => self.hashed.push(b']'),
                _ => return None,
            }
            if next == b']' {
                return Some(());
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.skip(word)?;
        self.hashed.extend_from_slice(word.as_bytes());
        Some(())
    }

    /// A string, with those escapes only that are printed by a letter.
    fn string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        self.at += 1;
        loop {
            let rest = &bytes[self.at..];
            let len = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            if rest[..len].iter().fold(false, |found, b| found | (*b < 0x20)) {
                return None;
            }
            self.at += len + 1;
            if rest[len] == b'"' {
                self.hashed.extend_from_slice(&bytes[start..self.at]);
                return Some(());
            }
            if !matches!(rest.get(len + 1)?, b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') {
                return None;
            }
            self.at += 1;
        }
    }

    /// An integer of few digits.
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..];
        let sign = usize::from(bytes.first() == Some(&b'-'));
        let digits = bytes[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
        let is_as_printed = match digits {
            0 => false,
            1 => sign == 0 || bytes[1] != b'0',
            _ => digits <= DIGITS && bytes[sign] != b'0',
        };
        // What may follow an integer without making another number of it.
        if !is_as_printed || !matches!(bytes.get(sign + digits)?, b',' | b']' | b'}') {
            return None;
        }
        self.at += sign + digits;
        self.hashed.extend_from_slice(&bytes[..sign + digits]);
        Some(())
    }
}

/// Whether a value is true, if it is one of those two.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn hex(hash: [u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    // There is room for exactly these.
    let _ = const_hex::encode_to_slice_upper(hash, &mut digits);
    digits
}
