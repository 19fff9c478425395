//! Streams of turns as somebody writes and reads them who has only `docs/protocol.md`, and need not keep to it.

use ibgib::{IbGib, Mode, Verified};
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
    pub(crate) fn read(encoding: Encoding, bytes: &[u8], lines: usize, nodes: usize) -> Self {
        let (list, nodes) = match encoding {
            Encoding::Lines => {
                let mut texts = std::str::from_utf8(bytes).unwrap().lines().map(str::to_owned);
                (texts.by_ref().take(lines).collect::<Vec<_>>(), texts.collect::<Vec<_>>())
            }
            Encoding::Blocks => {
                let mut texts = unpacked(bytes, nodes).into_iter();
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

/// The texts of blocks of which the first ones are nodes.
fn unpacked(bytes: &[u8], nodes: usize) -> Vec<String> {
    let (mut rest, mut before) = (In(bytes), COMMON.to_vec());
    let (mut learned, mut out) = (Vec::<Key>::new(), Vec::new());
    while let Some(method) = rest.byte() {
        let [new, content, packed] = [(); 3].map(|()| rest.count().unwrap());
        let mut new = rest.take(32 * new).unwrap().as_chunks::<32>().0.iter();
        let packed = rest.take(packed).unwrap();
        let content = if method == 1 { unpack(packed, content, &before).unwrap() } else { packed.to_vec() };
        let mut texts = In(&content);
        while !texts.0.is_empty() {
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
        before = content;
    }
    out
}
