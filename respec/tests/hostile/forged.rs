//! Streams of turns as somebody writes and reads them who has only `docs/protocol.md`, and need not keep to it.

use ibgib::{Addr, IbGib, Mode, Value, Verified};
use ibgib_blocks::{COMMON, In, Key, Out, expand, pack, unpack};
use ibgib_saga::{Encoding, Packet};

/// What a stream says, each text as it travels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) list: Vec<String>,
    pub(crate) nodes: Vec<String>,
}

impl Stream {
    pub(crate) fn of(encoding: Encoding, nodes: &[Verified<IbGib>]) -> Self {
        let text = |node: &Verified<IbGib>| match encoding {
            Encoding::Blocks => node.to_json_without_gib(),
            Encoding::Lines => node.to_json(),
        };
        Self { list: Vec::new(), nodes: nodes.iter().map(text).collect() }
    }

    /// All of it, without the bytes by which chunks begin; `lines` of it are the list, `nodes` are nodes.
    pub(crate) fn read(encoding: Encoding, heard: &mut Heard, bytes: &[u8], lines: usize, nodes: usize) -> Self {
        let (list, nodes) = match encoding {
            Encoding::Lines => {
                let mut texts = std::str::from_utf8(bytes).unwrap().lines().map(str::to_owned);
                (texts.by_ref().take(lines).collect::<Vec<_>>(), texts.collect::<Vec<_>>())
            }
            Encoding::Blocks => {
                let mut texts = heard.stream(bytes, nodes).into_iter();
                let nodes = texts.by_ref().take(nodes).collect();
                (texts.collect(), nodes)
            }
        };
        assert_eq!(list.len(), lines);
        Self { list, nodes }
    }

    pub(crate) fn bytes(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Lines => {
                self.list.iter().chain(&self.nodes).map(|text| format!("{text}\n")).collect::<String>().into()
            }
            Encoding::Blocks if self.list.is_empty() && self.nodes.is_empty() => Vec::new(),
            Encoding::Blocks => block(&content(self.nodes.iter().chain(&self.list)), None),
        }
    }

    /// In one chunk, the last.
    pub(crate) fn packet(&self, encoding: Encoding) -> Packet {
        chunk(1, &self.bytes(encoding))
    }
}

pub(crate) fn chunk(flag: u8, bytes: &[u8]) -> Packet {
    Packet::Binary([&[flag], bytes].concat())
}

/// The content of a block, with all hashes as they are.
pub(crate) fn content(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<u8> {
    let mut out = Out::default();
    texts.into_iter().for_each(|text| out.bytes(text.as_ref().as_bytes()));
    out.0
}

/// A block of this content, as it is or packed with that dictionary.
pub(crate) fn block(content: &[u8], dictionary: Option<&[u8]>) -> Vec<u8> {
    let packed = dictionary.map(|dictionary| pack(content, dictionary).unwrap());
    let body = packed.as_deref().unwrap_or(content);
    let mut out = Out(vec![u8::from(packed.is_some())]);
    [0, content.len(), body.len()].into_iter().for_each(|n| out.number(n as u64));
    [&out.0, body].concat()
}

/// What whoever listens to a connection has heard named: of no more hashes than are remembered.
#[derive(Debug)]
pub(crate) struct Heard {
    /// In packed questions and answers; in the streams of the saga under way.
    asked: Vec<Key>,
    saga: Option<Vec<Key>>,
    /// By each line of the sender's last list.
    lines: Vec<Vec<Key>>,
    /// What the last packed message of each side said.
    said: [Vec<u8>; 2],
}

impl Default for Heard {
    fn default() -> Self {
        Self { asked: Vec::new(), saga: None, lines: Vec::new(), said: [COMMON.to_vec(), COMMON.to_vec()] }
    }
}

impl Heard {
    /// A packed question, or a packed answer.
    pub(crate) fn packed(&mut self, is_answer: bool, bytes: &[u8]) {
        let said = &mut self.said[usize::from(is_answer)];
        texts(&bytes[1..], said, &mut self.asked, 0, &[]);
    }

    /// The texts of a stream of which the first ones are nodes.
    pub(crate) fn stream(&mut self, bytes: &[u8], nodes: usize) -> Vec<String> {
        let learned = self.saga.get_or_insert_with(|| self.asked.clone());
        texts(bytes, &mut COMMON.to_vec(), learned, nodes, &self.lines)
    }

    /// A stream of the sender, of which the first ones are nodes.
    pub(crate) fn asks(&mut self, bytes: &[u8], nodes: usize) {
        let texts = self.stream(bytes, nodes);
        let names = |line: &String| {
            let line = Value::parse(line, Mode::Strict).unwrap();
            let name = |member| line.get(member).and_then(Value::as_str).map(|addr| addr.parse::<Addr>().unwrap());
            ["tjp", "constant", "want", "theirs", "tip"]
                .into_iter()
                .filter_map(name)
                .filter_map(|addr| addr.key())
                .collect()
        };
        self.lines = texts[nodes..].iter().map(names).collect();
    }
}

/// The texts of blocks of which the first ones are nodes and the others lines, each about what was named beside it.
fn texts(bytes: &[u8], before: &mut Vec<u8>, learned: &mut Vec<Key>, nodes: usize, beside: &[Vec<Key>]) -> Vec<String> {
    let (mut rest, mut out) = (In(bytes), Vec::new());
    while let Some(method) = rest.byte() {
        let [new, content, packed] = [(); 3].map(|()| rest.count().unwrap());
        let mut new = rest.take(32 * new).unwrap().as_chunks::<32>().0.iter();
        let packed = rest.take(packed).unwrap();
        let content = if method == 1 { unpack(packed, content, before).unwrap() } else { packed.to_vec() };
        let mut texts = In(&content);
        while !texts.0.is_empty() {
            if out.len() >= nodes {
                learned.extend(beside.get(out.len() - nodes).into_iter().flatten());
            }
            let text = expand(texts.bytes().unwrap(), usize::MAX, |mark, rest| {
                let hash = match mark {
                    4 | 5 => {
                        learned.extend(new.next());
                        learned[learned.len() - 1]
                    }
                    1 => learned[learned.len() - rest.count().unwrap()],
                    _ => learned[rest.count().unwrap()],
                };
                Ok((hash, matches!(mark, 3 | 5)))
            });
            let text = text.unwrap();
            if out.len() < nodes {
                learned.extend(IbGib::parse(&text, Mode::Strict).unwrap().seal().unwrap().addr().key());
            }
            out.push(text);
        }
        *before = content;
    }
    out
}
