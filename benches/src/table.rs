//! Medians, for people and for programs.

use crate::peer::Cost;
use crate::workload::WORKLOADS;
use ibgib::{Value, object};
use std::collections::BTreeMap;

/// What each round of a workload cost, by workload and peer.
pub(crate) type Measured = BTreeMap<(String, String), Vec<Cost>>;

pub(crate) fn median(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

fn rows<'a>(measured: &'a Measured, peers: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str, &'a [Cost])> {
    let workloads = WORKLOADS.iter().map(|(workload, _)| *workload);
    let pairs = workloads.flat_map(|workload| peers.iter().map(move |peer| (workload, *peer)));
    pairs.filter_map(|(workload, peer)| {
        let costs = measured.get(&(workload.to_owned(), peer.to_owned()))?;
        Some((workload, peer, costs.as_slice()))
    })
}

pub(crate) fn text(measured: &Measured, peers: &[&str]) -> String {
    let mut out = format!(
        "{:<8}{:<15}{:>9}{:>16}{:>15}{:>20}{:>17}\n",
        "", "", "wall s", "CPU s c + s", "memory MB", "wire kB up, down", "disk MB"
    );
    for (workload, peer, costs) in rows(measured, peers) {
        let both = |figure: &dyn Fn(&Cost, usize) -> f64, scale: f64, digits: usize| {
            let side = |i: usize| format!("{:.digits$}", median(costs, |cost| figure(cost, i)) / scale);
            format!("{} + {}", side(0), side(1))
        };
        out += &format!(
            "{workload:<8}{peer:<15}{:>9.3}{:>16}{:>15}{:>20}{:>17}\n",
            median(costs, |cost| cost.wall),
            both(&|cost, i| cost.cpu[i], 1.0, 2),
            both(&|cost, i| cost.memory[i] as f64, 1e6, 0),
            both(&|cost, i| cost.wire[i] as f64, 1e3, 1),
            both(&|cost, i| cost.disk[i] as f64, 1e6, 1),
        );
    }
    notes(measured, peers).iter().for_each(|note| out += &format!("{note}\n"));
    out
}

/// What has no column: it is told of few.
fn notes(measured: &Measured, peers: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for (workload, peer, costs) in rows(measured, peers) {
        let identity = median(costs, |cost| cost.identity as f64);
        if identity > 0.0 {
            let rest = median(costs, |cost| cost.wire.iter().sum::<u64>().saturating_sub(cost.identity) as f64);
            out.push(format!(
                "{workload} of {peer} beside the identity: {:.1} kB, the identity: {:.1} kB",
                rest / 1e3,
                identity / 1e3
            ));
        }
        let trips = median(costs, |cost| cost.trips);
        if trips > 0.0 {
            out.push(format!("{workload} of {peer}: {trips:.1} round trips"));
        }
        let packs = median(costs, |cost| cost.packs as f64);
        if packs > 0.0 {
            out.push(format!("{workload} of {peer}: the packs at its server have {:.2} MB", packs / 1e6));
        }
    }
    out
}

/// The workloads and their figures, as a section of a page. `told`: by which command, and where.
pub(crate) fn section(measured: &Measured, peers: &[&str], told: &str) -> String {
    let mut out = format!("{told}\n\n| | |\n|---|---|\n");
    for (name, what) in WORKLOADS.iter().filter(|(name, _)| measured.keys().any(|(workload, _)| workload == name)) {
        out += &format!("| {name} | {what} |\n");
    }
    out += "\n| | | wall s | CPU s | memory MB | sent, received kB | disk MB |\n|---|---|---|---|---|---|---|\n";
    for (workload, peer, costs) in rows(measured, peers) {
        let both = |figure: &dyn Fn(&Cost, usize) -> f64, scale: f64, digits: usize| {
            let side = |i: usize| format!("{:.digits$}", median(costs, |cost| figure(cost, i)) / scale);
            format!("{} + {}", side(0), side(1))
        };
        out += &format!(
            "| {workload} | {peer} | {:.3} | {} | {} | {} | {} |\n",
            median(costs, |cost| cost.wall),
            both(&|cost, i| cost.cpu[i], 1.0, 2),
            both(&|cost, i| cost.memory[i] as f64, 1e6, 0),
            both(&|cost, i| cost.wire[i] as f64, 1e3, 1),
            both(&|cost, i| cost.disk[i] as f64, 1e6, 1),
        );
    }
    let notes = notes(measured, peers);
    if !notes.is_empty() {
        out.push('\n');
    }
    notes.iter().for_each(|note| out += &format!("- {note}.\n"));
    out
}

pub(crate) fn json(measured: &Measured, peers: &[&str]) -> String {
    let mut out = String::new();
    for (workload, peer, costs) in rows(measured, peers) {
        let both = |figure: &dyn Fn(&Cost, usize) -> f64| {
            Value::Array(vec![
                Value::Number(median(costs, |cost| figure(cost, 0))),
                Value::Number(median(costs, |cost| figure(cost, 1))),
            ])
        };
        let row = object([
            ("workload", workload.into()),
            ("peer", peer.into()),
            ("rounds", Value::integer(costs.len() as u64)),
            ("wall", Value::Number(median(costs, |cost| cost.wall))),
            ("cpu", both(&|cost, i| cost.cpu[i])),
            ("memory", both(&|cost, i| cost.memory[i] as f64)),
            ("wire", both(&|cost, i| cost.wire[i] as f64)),
            ("disk", both(&|cost, i| cost.disk[i] as f64)),
            ("identity", Value::Number(median(costs, |cost| cost.identity as f64))),
            ("trips", Value::Number(median(costs, |cost| cost.trips))),
            ("packs", Value::Number(median(costs, |cost| cost.packs as f64))),
        ]);
        out += &row.to_json();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_column_stands_below_the_table() {
        let cost = Cost { wire: [20_000, 10_000], identity: 26_800, trips: 5.04, ..Cost::default() };
        let mut measured = Measured::new();
        measured.insert(("W3".to_owned(), "ibgib".to_owned()), vec![cost]);
        measured.insert(("W3".to_owned(), "git".to_owned()), vec![Cost { wire: [1, 2], ..Cost::default() }]);
        let page = section(&measured, &["ibgib", "git"], "Told.");
        assert!(page.ends_with("|\n\n- W3 of ibgib beside the identity: 3.2 kB, the identity: 26.8 kB.\n- W3 of ibgib: 5.0 round trips.\n"), "{page}");
    }
}
