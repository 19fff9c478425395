//! A space in a database keeps every promise of the contract, one test each, also through the wrapper that fails.

mod common;

use common::fresh;
use ibgib_spaces::fault::{FaultPlan, FaultSpace};
use ibgib_spaces::{contract, each_promise};
use std::sync::Arc;

macro_rules! postgres {
    ($($promise:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $promise() {
            contract::$promise(Arc::new(fresh().await)).await.unwrap();
        })*

        const NAMES: &[&str] = &[$(stringify!($promise)),*];
    };
}

each_promise!(postgres);

#[test]
fn every_promise_has_a_test() {
    assert_eq!(NAMES, contract::PROMISES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_a_plan_without_faults_the_contract_is_kept() {
    let make = async || Arc::new(FaultSpace::new(Arc::new(fresh().await), FaultPlan::default())) as _;
    contract::all(make).await.unwrap();
}
