//! What is in the spaces: counts, timelines, nodes, keystones, conflicts.

use crate::answer::{ToolError, address, answer, maybe, ms, number};
use crate::names::Names;
use crate::{Shared, rows_server};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ibgib::conflict::Conflict;
use ibgib::{Addr, IbGib, Value, Verified, object, strings};
use ibgib_peer::entropy::now_ms;
use ibgib_peer::identity;
use ibgib_peer::saga::Code;
use ibgib_spaces::{Follow, Kind, Space, Tip};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Entries of one answer, unless fewer are asked for.
const LIST_MAX: usize = 500;
/// Names of one answer.
const NAMES_MAX: usize = 10_000;
/// Nodes of one graph.
const GRAPH_MAX: usize = 100_000;
/// Nodes loaded at once.
const BATCH: usize = 256;
/// The name of the server's space.
pub(crate) const SERVER: &str = "server";

pub(crate) type Answer = Result<Response, ToolError>;
type Params = Query<HashMap<String, String>>;

/// All spaces by name, the server's first, then what the rows sync with.
fn all(shared: &Shared) -> Vec<(String, Arc<dyn Space>)> {
    let hosts = [(SERVER, &shared.host), (rows_server::NAME, shared.rows_server.host())];
    let mut out: Vec<_> = hosts.map(|(name, host)| (name.to_owned(), Arc::clone(host.space()))).into();
    out.extend(shared.rows.spaces());
    out
}

pub(crate) fn named(shared: &Shared, name: &str) -> Result<Arc<dyn Space>, ToolError> {
    let found = all(shared).into_iter().find(|(n, _)| n == name);
    found.map(|(_, space)| space).ok_or_else(|| ToolError::not_found(&format!("a space {name}")))
}

async fn tip_counts(space: &dyn Space) -> Result<Value, ToolError> {
    let tips = space.tips(None).await?;
    let count = |kind| number(tips.iter().filter(|t| t.kind == kind).count());
    Ok(object([("living", count(Kind::Living)), ("keystone", count(Kind::Keystone)), ("saga", count(Kind::Saga))]))
}

/// `GET overview`.
pub(crate) async fn overview(State(shared): State<Arc<Shared>>) -> Answer {
    let space = shared.host.space();
    let l = shared.host.limits();
    let limits = object([
        ("message_bytes_max", number(l.message_bytes_max)),
        ("node_bytes_max", number(l.node_bytes_max)),
        ("nodes_max", number(l.nodes_max)),
        ("inline_bytes_max", number(l.inline_bytes_max)),
        ("turns_max", number(l.turns_max)),
        ("handshake_ms_max", number(l.handshake_ms_max)),
        ("idle_ms_max", number(l.idle_ms_max)),
        ("saga_ms_max", number(l.saga_ms_max)),
    ]);
    Ok(answer(&object([
        ("space", space.id().into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("protocol", ibgib_peer::saga::SUBPROTOCOL.into()),
        ("policy", shared.host.policy_name().into()),
        ("url", maybe(shared.url.get().map(String::as_str))),
        ("nodes", number(space.count().await?)),
        ("revision", number(space.revision().await?)),
        ("uptime_ms", ms(now_ms() - shared.started_ms)),
        ("limits", limits),
        ("tips", tip_counts(&**space).await?),
        ("faults", shared.rows.faults()),
    ])))
}

/// Bytes of a directory's files, on disk.
async fn disk_bytes(dir: &std::path::Path) -> Option<u64> {
    let mut entries = tokio::fs::read_dir(dir).await.ok()?;
    let mut bytes = 0;
    while let Some(entry) = entries.next_entry().await.ok()? {
        bytes += entry.metadata().await.ok().filter(|m| m.is_file()).map_or(0, |m| m.len());
    }
    Some(bytes)
}

/// Bytes of all nodes as JSON. For spaces in memory only: it reads everything.
async fn node_bytes(space: &dyn Space) -> Result<u64, ToolError> {
    let (mut bytes, mut after) = (0, None);
    loop {
        let found = space.scan(after, BATCH).await?;
        let Some(last) = found.last() else { return Ok(bytes) };
        after = Some(last.key);
        bytes += found.iter().flat_map(|s| &s.node).map(|n| n.to_json().len() as u64).sum::<u64>();
    }
}

/// `GET spaces`.
pub(crate) async fn spaces(State(shared): State<Arc<Shared>>) -> Answer {
    let mut out = Vec::new();
    for (name, space) in all(&shared) {
        let bytes = match (name.as_str(), shared.store.get()) {
            (SERVER, Some(dir)) => disk_bytes(dir).await,
            (SERVER, None) => None,
            _ => Some(node_bytes(&*space).await?),
        };
        out.push(object([
            ("name", name.into()),
            ("id", space.id().into()),
            ("nodes", number(space.count().await?)),
            ("bytes", bytes.map_or(Value::Null, number)),
            ("revision", number(space.revision().await?)),
            ("tips", tip_counts(&*space).await?),
        ]));
    }
    Ok(answer(&out.into()))
}

/// `GET spaces/{space}/names`.
pub(crate) async fn names(State(shared): State<Arc<Shared>>, Path(space): Path<String>) -> Answer {
    let names = Names::read(&*named(&shared, &space)?).await?;
    let names = names.iter().take(NAMES_MAX).map(|(tjp, name)| {
        object([("tjp", tjp.into()), ("name", name.name.as_str().into()), ("folder", maybe(name.folder.as_deref()))])
    });
    Ok(answer(&names.collect::<Vec<_>>().into()))
}

/// `GET doors`: what each of the server's doors tells of itself.
pub(crate) async fn doors(State(shared): State<Arc<Shared>>) -> Answer {
    let mut out = Vec::new();
    for door in shared.doors.get().into_iter().flatten() {
        let (tables, trouble) = match door.tables().await {
            Ok(tables) => (tables, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let tables = tables.into_iter().map(|table| {
            let rows: Vec<Value> = table.rows.into_iter().map(strings).collect();
            object([
                ("title", table.title.into()),
                ("columns", strings(table.columns.iter().copied())),
                ("rows", rows.into()),
                ("count", number(table.count)),
            ])
        });
        out.push(object([
            ("name", door.name().into()),
            ("tables", tables.collect::<Vec<_>>().into()),
            ("trouble", maybe(trouble.as_deref())),
        ]));
    }
    Ok(answer(&out.into()))
}

/// `POST spaces/{space}/fsck`.
pub(crate) async fn fsck(State(shared): State<Arc<Shared>>, Path(space): Path<String>) -> Answer {
    let space = named(&shared, &space)?;
    let started = Instant::now();
    let found = ibgib_spaces::fsck(&*space).await?;
    let missing: Vec<Value> = found.missing.iter().map(|(to, from)| strings([from.as_str(), to])).collect();
    Ok(answer(&object([
        ("clean", found.is_clean().into()),
        ("nodes", number(found.nodes)),
        ("timelines", number(found.timelines)),
        ("corrupt", strings(found.corrupt)),
        ("missing", missing.into()),
        ("unreachable", number(found.unreachable)),
        ("duration_ms", number(started.elapsed().as_millis())),
    ])))
}

fn limit(query: &Params) -> Result<usize, ToolError> {
    let Some(text) = query.get("limit") else { return Ok(LIST_MAX) };
    let limit = text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
    limit.ok_or_else(|| ToolError::new(Code::BadQuery, format!("limit must be between 1 and {LIST_MAX}")))
}

/// `GET spaces/{space}/timelines?kind=&limit=&find=`.
pub(crate) async fn timelines(State(shared): State<Arc<Shared>>, Path(space): Path<String>, query: Params) -> Answer {
    let space = named(&shared, &space)?;
    let kind = match query.get("kind").map_or("all", String::as_str) {
        "living" => Some(Kind::Living),
        "keystone" => Some(Kind::Keystone),
        "saga" => Some(Kind::Saga),
        "all" => None,
        other => {
            return Err(ToolError::new(Code::BadQuery, format!("no kind {other:?}: living, keystone, saga or all")));
        }
    };
    let limit = limit(&query)?;
    let (mut tips, names) = (space.tips(kind).await?, Names::read(&*space).await?);
    let mut found = None;
    if let Some(text) = query.get("find").map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty()) {
        // The address of any node leads to its timeline.
        let addr = query.get("find").and_then(|text| text.trim().parse::<Addr>().ok());
        let node = match addr {
            Some(addr) => space.node(&addr).await?,
            None => None,
        };
        let of = node.as_ref().and_then(|node| node.tjp());
        tips.retain(|tip| {
            let name = names.of(&tip.tjp);
            let texts = [Some(tip.tjp.as_str()), Some(tip.addr.as_str()), name.map(|n| &*n.name)];
            of.as_ref() == Some(&tip.tjp) || texts.iter().flatten().any(|t| t.to_lowercase().contains(&text))
        });
        found = node.map(|node| node.addr().clone());
    }
    // Files by name first; what has none stays in the order of the addresses.
    tips.sort_by(|a, b| {
        let key = |tip: &Tip| names.of(&tip.tjp).map(|n| (n.name.clone(), n.folder.clone()));
        let (a, b) = (key(a), key(b));
        a.is_none().cmp(&b.is_none()).then(a.cmp(&b))
    });
    let shown = tips.iter().take(limit).map(|tip| {
        object([
            ("name", maybe(names.of(&tip.tjp).map(|n| n.name.as_str()))),
            ("folder", maybe(names.of(&tip.tjp).and_then(|n| n.folder.as_deref()))),
            ("tjp", (&tip.tjp).into()),
            ("tip", (&tip.addr).into()),
            ("n", tip.n.map_or(Value::Null, number)),
            ("kind", tip.kind.as_str().into()),
        ])
    });
    let more = tips.len() > limit;
    Ok(answer(&object([
        ("tips", shown.collect::<Vec<_>>().into()),
        ("more", more.into()),
        ("node", maybe(found.as_ref())),
    ])))
}

/// `GET spaces/{space}/timeline?tjp=&limit=`: newest frames first.
pub(crate) async fn timeline(State(shared): State<Arc<Shared>>, Path(space): Path<String>, query: Params) -> Answer {
    let space = named(&shared, &space)?;
    let tjp = address(query.get("tjp"))?;
    let limit = limit(&query)?;
    let tip = space.tip(&tjp).await?.ok_or_else(|| ToolError::not_found(&format!("timeline {tjp}")))?;
    let none = HashSet::new();
    let mut addrs = space.reach(std::slice::from_ref(&tip.addr), Follow::History, &none, limit + 1).await?;
    let more = addrs.len() > limit;
    addrs.truncate(limit);
    let frames: Vec<Value> = space.get(&addrs).await?.iter().flatten().map(frame).collect();
    Ok(answer(&object([
        ("tjp", tjp.into()),
        ("tip", tip.addr.into()),
        ("kind", tip.kind.as_str().into()),
        ("frames", frames.into()),
        ("more", more.into()),
    ])))
}

fn frame(frame: &Verified<IbGib>) -> Value {
    let orphans = strings(frame.rel8n("graftorphan"));
    let role = match (frame.is_tjp(), frame.rel8n("graftorphan").next()) {
        (true, _) => "first",
        (_, Some(_)) => "merge",
        _ => "edit",
    };
    object([
        ("addr", frame.addr().into()),
        ("n", frame.n().map_or(Value::Null, number)),
        ("past", strings(frame.rel8n("past"))),
        ("orphans", orphans),
        ("timestamp", maybe(frame.datum("timestamp").and_then(Value::as_str))),
        ("conflicts", number(frame.rel8n("conflict").count())),
        ("role", role.into()),
    ])
}

async fn load(space: &dyn Space, addr: &Addr) -> Result<Verified<IbGib>, ToolError> {
    let node = space.node(addr).await?;
    node.ok_or_else(|| ToolError::not_found(addr.as_str()))
}

/// `GET spaces/{space}/node?addr=`.
pub(crate) async fn node(State(shared): State<Arc<Shared>>, Path(space): Path<String>, query: Params) -> Answer {
    let space = named(&shared, &space)?;
    Ok(answer(&load(&*space, &address(query.get("addr"))?).await?.to_value()))
}

/// `GET spaces/{space}/graph?addr=`: JSON Lines, dependencies first.
pub(crate) async fn graph(State(shared): State<Arc<Shared>>, Path(space): Path<String>, query: Params) -> Answer {
    let space = named(&shared, &space)?;
    let addr = address(query.get("addr"))?;
    load(&*space, &addr).await?;
    let none = HashSet::new();
    let addrs = space.reach(std::slice::from_ref(&addr), Follow::All, &none, GRAPH_MAX).await?;
    let lines = stream::unfold((space, addrs, 0), |(space, addrs, at)| async move {
        let batch = addrs.get(at..(at + BATCH).min(addrs.len())).filter(|batch| !batch.is_empty())?;
        let lines = match space.get(batch).await {
            Ok(nodes) => Ok(nodes.into_iter().flatten().map(|n| n.to_json() + "\n").collect::<String>()),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        };
        Some((lines, (space, addrs, at + BATCH)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// `GET spaces/{space}/keystones`.
pub(crate) async fn keystones(State(shared): State<Arc<Shared>>, Path(space): Path<String>) -> Answer {
    let space = named(&shared, &space)?;
    let mut out = Vec::new();
    for tip in space.tips(Some(Kind::Keystone)).await?.into_iter().take(LIST_MAX) {
        let evidence = identity::evidence(&*space, &tip.tjp).await?;
        let (mut pools, mut revoked, mut error) = (Vec::new(), false, None);
        match identity::load_chain(&*space, &tip.tjp).await {
            Ok(chain) => {
                revoked = chain.as_ref().is_some_and(ibgib_keystone::Chain::is_revoked);
                pools = chain.map(|c| c.pools()).unwrap_or_default();
            }
            Err(e) => error = Some(e.to_string()),
        }
        let frame = load(&*space, &tip.addr).await?;
        let size = |id: &str| {
            let all = frame.datum("challengePools").and_then(Value::as_array).unwrap_or(&[]);
            let pool = all.iter().find(|p| p.get("id").and_then(Value::as_str) == Some(id));
            let size = pool.and_then(|p| p.get("config")?.get("behavior")?.get("size")?.as_u53());
            size.map_or(Value::Null, number)
        };
        let pools = pools.into_iter().map(|pool| {
            object([
                ("id", pool.id.as_str().into()),
                ("size", size(&pool.id)),
                ("verbs", strings(pool.verbs)),
                ("left", number(pool.left)),
                ("used", number(pool.used)),
            ])
        });
        out.push(object([
            ("tjp", tip.tjp.into()),
            ("tip", tip.addr.into()),
            ("n", tip.n.map_or(Value::Null, number)),
            ("revoked", revoked.into()),
            ("forked", (!evidence.is_empty()).into()),
            ("evidence", strings(evidence.iter().map(|e| e.frame.to_string()))),
            ("pools", pools.collect::<Vec<_>>().into()),
            ("error", maybe(error)),
        ]));
    }
    Ok(answer(&out.into()))
}

/// `GET spaces/{space}/conflicts`: what the tips of living timelines carry.
pub(crate) async fn conflicts(State(shared): State<Arc<Shared>>, Path(space): Path<String>) -> Answer {
    let space = named(&shared, &space)?;
    let (mut out, names) = (Vec::new(), Names::read(&*space).await?);
    let tips = space.tips(Some(Kind::Living)).await?;
    for tips in tips.chunks(BATCH) {
        let addrs: Vec<Addr> = tips.iter().map(|t| t.addr.clone()).collect();
        for (tip, frame) in tips.iter().zip(space.get(&addrs).await?) {
            let Some(frame) = frame else { continue };
            for stone in space.get(&frame.rel8n_addrs("conflict")).await?.iter().flatten() {
                let part = |name: &str| stone.datum(name).cloned().unwrap_or(Value::Null);
                let name = names.of(&tip.tjp);
                out.push(object([
                    ("name", maybe(name.map(|n| n.name.as_str()))),
                    ("folder", maybe(name.and_then(|n| n.folder.as_deref()))),
                    ("now", maybe(Conflict::of(stone).now(&frame))),
                    ("tjp", (&tip.tjp).into()),
                    ("tip", (&tip.addr).into()),
                    ("stone", stone.addr().into()),
                    ("path", part("path")),
                    ("ancestor", part("ancestor")),
                    ("base", part("base")),
                    ("orphan", part("orphan")),
                ]));
                if out.len() == LIST_MAX {
                    return Ok(answer(&out.into()));
                }
            }
        }
    }
    Ok(answer(&out.into()))
}
