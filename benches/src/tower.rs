//! `ibgib-bench tower`: how long a tower's rules take for a full block, and how much memory all its appointments take.

use crate::{Res, measure};
use ibgib_tower::feed::{Block, BlockId};
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::responder::Send;
use ibgib_tower::sealed::{Dialect, Locator, seal};
use ibgib_tower::signature::{SecretKey, appointment_message};
use ibgib_tower::tower::Tower;
use ibgib_tower::transaction::Txid;
use ibgib_tower::watcher::Request;
use std::time::{Duration, Instant};

/// Blocks that are looked at; the slowest counts.
const BLOCKS: u32 = 20;
/// Bytes of a penalty with a few outputs and its witnesses.
const PENALTY: usize = 350;

/// What was asked for.
pub(crate) struct Options {
    appointments: u32,
    transactions: u32,
    breaches: u32,
    users: u32,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut out = Self { appointments: 100_000, transactions: 4_000, breaches: 10, users: 100 };
        while let Some(argument) = arguments.next() {
            let number = arguments.next()?.parse().ok()?;
            match argument.as_str() {
                "--appointments" => out.appointments = number,
                "--transactions" => out.transactions = number,
                "--breaches" => out.breaches = number,
                "--users" => out.users = Some(number).filter(|n| *n > 0)?,
                _ => return None,
            }
        }
        (out.breaches <= out.transactions && out.breaches * BLOCKS <= out.appointments).then_some(out)
    }
}

/// The n-th transaction id of a sort; half of its bytes is a locator, so all of them differ.
fn txid(sort: u32, n: u32) -> Txid {
    let mut seed = (u64::from(sort) << 32) | u64::from(n);
    Txid::from_internal(std::array::from_fn(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    }))
}

/// A transaction as a tower reads it, that spends another one.
fn penalty(of: &Txid) -> Vec<u8> {
    let mut raw = vec![2, 0, 0, 0, 1];
    raw.extend(of.internal());
    raw.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
    let script = PENALTY - raw.len() - 7;
    raw.push(0xfd);
    raw.extend(u16::try_from(script).unwrap_or_default().to_le_bytes());
    raw.extend(vec![0x51; script]);
    raw.extend([0; 4]);
    raw
}

fn id(height: u32) -> BlockId {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&height.to_be_bytes());
    BlockId { hash, height }
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let Options { appointments, transactions, breaches, users } = *options;
    let before = measure::resident(std::process::id());
    let mut tower = Tower::new(id(1), Terms::of(Dialect::Rust), Terms::of(Dialect::Python));
    let mut keys = Vec::new();
    for n in 1..=users {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let key = SecretKey::from_bytes(&bytes).ok_or("no key")?;
        tower.register(key.id(), Dialect::Rust)?;
        keys.push(key);
    }
    let started = Instant::now();
    for n in 0..appointments {
        let (breach, key) = (txid(1, n), &keys[(n % users) as usize]);
        let (locator, sealed) = (Locator::of(&breach, Dialect::Rust), seal(&penalty(&breach), &breach, Dialect::Rust));
        let signature = key.sign(&appointment_message(&locator, &sealed, 42));
        tower.add_appointment(Request { locator, sealed, to_self_delay: 42, signature })?;
    }
    let added = started.elapsed();
    let waiting = tower.take_changes().appointments.len();
    let memory = measure::resident(std::process::id()).saturating_sub(before);
    let (mut times, mut sent) = (Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        // The penalties of the block before are in this one, or they would be sent again.
        let others = (2 * breaches..transactions).map(|n| txid(2 + block, n)).chain(sent.drain(..));
        let txids = (0..breaches).map(|n| txid(1, block * breaches + n)).chain(others).collect();
        let block = Block { id: id(2 + block), parent: id(1 + block).hash, txids };
        let started = Instant::now();
        let sends = tower.connected(&block);
        times.push(started.elapsed());
        if sends.len() != breaches as usize {
            return Err(format!("{} penalties for {breaches} breaches", sends.len()).into());
        }
        sent.extend(sends.iter().map(Send::txid));
    }
    times.sort_unstable();
    let [middle, most] =
        [times[times.len() / 2], times[times.len() - 1]].map(|time: Duration| time.as_secs_f64() * 1e3);
    println!("appointments  {waiting} of {users} users, signed, checked and taken in {:.1} s", added.as_secs_f64());
    println!("memory        {:.0} MB for all of them", memory as f64 / 1e6);
    println!("a block       {transactions} transactions, {breaches} breaches: {middle:.1} ms, at most {most:.1} ms");
    Ok(())
}
