//! Counters, as Prometheus text.

use crate::state::State;
use axum::extract::State as Extract;
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, HostEvent};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::sync::Arc;

pub(crate) async fn render(Extract(state): Extract<Arc<State>>) -> String {
    // Counted rather than followed: an event that was missed would make it wrong for ever.
    metrics::with_local_recorder(&*state.recorder, || {
        gauge!("ibgib_connections").set(state.places.count() as f64);
        let (open, cut) = state.waiting.count();
        gauge!("ibgib_http_connections").set(open as f64);
        counter!("ibgib_http_connections_cut_total").absolute(cut);
        counter!("ibgib_checks_total").absolute(state.host.checks_begun());
        counter!("ibgib_jobs_total").absolute(state.host.jobs_begun());
        gauge!("ibgib_lists_bytes").set(state.host.lists_bytes() as f64);
        gauge!("ibgib_kept_identities_bytes").set(state.host.kept_identities_bytes() as f64);
        counter!("ibgib_too_many_requests_total").absolute(state.registering.refused());
        state.doors.iter().for_each(|door| door.metrics());
    });
    state.metrics.render()
}

/// A recorder of one server: nothing global, so that a process may run several.
pub(crate) fn recorder() -> (Arc<PrometheusRecorder>, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    (Arc::new(recorder), handle)
}

/// Counts and logs what happens at a host, until the host is gone.
pub(crate) async fn watch(host: &Host, recorder: Arc<PrometheusRecorder>) {
    let mut events = host.events();
    metrics::with_local_recorder(&*recorder, || {
        // Present from the start, so that a graph shows zero rather than nothing.
        counter!("ibgib_sagas_total").absolute(0);
        counter!("ibgib_nodes_received_total").absolute(0);
        counter!("ibgib_nodes_sent_total").absolute(0);
    });
    loop {
        match events.recv().await {
            Ok(event) => metrics::with_local_recorder(&*recorder, || note(&event)),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "metrics missed events");
            }
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// An error's code as a label: one of ours, since every new value is a new series. What a peer calls its refusal is in
/// the log.
fn label(error: &SagaError) -> String {
    match error {
        SagaError::PeerRefused { .. } => "peer_refused".into(),
        error => error.code().to_owned(),
    }
}

fn note(event: &HostEvent) {
    match event {
        HostEvent::Registered(tjp) => {
            counter!("ibgib_identities_registered_total").increment(1);
            tracing::info!(identity = %tjp, "identity registered");
        }
        HostEvent::Evolved(tjp) => {
            counter!("ibgib_identity_evolutions_total").increment(1);
            tracing::debug!(identity = %tjp, "identity evolved");
        }
        HostEvent::Opened(_) => counter!("ibgib_connections_total").increment(1),
        HostEvent::Connected(id, identity) => {
            let identity = identity.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(connection = id, identity, "connected");
        }
        HostEvent::Message(message) => {
            let way = if message.incoming { "in" } else { "out" };
            counter!("ibgib_messages_total", "way" => way).increment(1);
            counter!("ibgib_message_bytes_total", "way" => way).increment(message.bytes as u64);
        }
        HostEvent::Done(id, done) => {
            counter!("ibgib_sagas_total").increment(1);
            counter!("ibgib_nodes_received_total").increment(done.nodes_received);
            counter!("ibgib_nodes_sent_total").increment(done.nodes_sent);
            tracing::info!(
                connection = id,
                saga = done.saga_id,
                turns = done.turns,
                received = done.nodes_received,
                sent = done.nodes_sent,
                "saga committed"
            );
        }
        HostEvent::Closed(id, error) => {
            if let Some(error) = error {
                counter!("ibgib_failures_total", "code" => label(error)).increment(1);
                if let SagaError::Limit { name, .. } = error {
                    counter!("ibgib_limits_crossed_total", "limit" => *name).increment(1);
                }
                tracing::warn!(connection = id, code = error.code(), %error, "connection failed");
            } else {
                tracing::debug!(connection = id, "connection closed");
            }
        }
        HostEvent::Refused(tjp, error) => {
            counter!("ibgib_identities_refused_total", "code" => label(error)).increment(1);
            tracing::info!(identity = %tjp, code = error.code(), "identity refused");
        }
        HostEvent::Forked(_) => counter!("ibgib_identities_forked_total").increment(1),
        HostEvent::Ended(_) => counter!("ibgib_identities_ended_total").increment(1),
        _ => {}
    }
}
