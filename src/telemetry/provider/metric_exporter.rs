//! Metrics, as the SDK's reader hands them over. They are sums since the start: what is not delivered is in the next export as well.

use std::sync::Mutex;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;

use super::connection::Collector;
use super::delivery::{Again, Delivery};
use super::export::Rejected;
use super::stop::Deadline;
use crate::telemetry::metrics::{self, DropReason, Signal};

/// Exports metrics on the runtime of telemetry: the reader's own thread has none.
pub(super) struct MetricExporter {
    runtime: Handle,
    delivery: Delivery,
    /// Until when the collector wants to be left alone.
    pause: Mutex<Option<Deadline>>,
}

impl MetricExporter {
    pub(super) fn new(runtime: Handle, delivery: Delivery) -> MetricExporter {
        MetricExporter { runtime, delivery, pause: Mutex::new(None) }
    }

    fn paused(&self) -> bool {
        let pause = self.pause.lock().map(|pause| *pause);
        pause.is_ok_and(|pause| pause.is_some_and(|pause| pause.remaining() > Duration::ZERO))
    }
}

async fn send(to: Collector, request: ExportMetricsServiceRequest) -> Result<Rejected, Status> {
    let answer = MetricsServiceClient::new(to.channel.clone()).export(to.request(request)).await?;
    let partial = answer.into_inner().partial_success;
    Ok(Rejected::of(partial.map(|partial| partial.rejected_data_points)))
}

impl PushMetricExporter for MetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let failed = || OTelSdkError::InternalFailure("the collector did not take it".to_owned());
        if self.paused() {
            return Err(failed());
        }
        let (request, delivery) = (ExportMetricsServiceRequest::from(metrics), self.delivery.clone());
        let (told, heard) = oneshot::channel();
        self.runtime.spawn(async move {
            let _ = told.send(delivery.attempt(Signal::Metrics, |to| send(to, request)).await);
        });
        match heard.await {
            Ok(Ok(Rejected(rejected))) => {
                metrics::telemetry_dropped(Signal::Metrics, DropReason::Rejected, rejected);
                Ok(())
            }
            Ok(Err(again)) => {
                if let (Again::After(asked), Ok(mut pause)) = (again, self.pause.lock()) {
                    *pause = Some(Deadline::within(asked));
                }
                Err(failed())
            }
            Err(_) => Err(failed()),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
