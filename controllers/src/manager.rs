//! Starts the controllers that the options name, each under its own identity.
use crate::common::Context;
use crate::{Error, Options};
use futures::future::BoxFuture;
use keelson_client::leader::LeaderElection;
use keelson_client::{Client, EventRecorder, InformerFactory};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The identity of the shared informers and of the Lease.
pub const MANAGER: &str = "kube-controller-manager";

type Start = fn(Context) -> BoxFuture<'static, ()>;

macro_rules! controllers {
    ($($module:ident),* $(,)?) => {
        /// Every controller by upstream's name, with its account.
        const CONTROLLERS: &[(&str, &str, Start)] =
            &[$((crate::$module::NAME, crate::$module::ACCOUNT, |c| Box::pin(crate::$module::run(c)))),*];
    };
}
controllers!(
    deployment,
    replicaset,
    endpointslice,
    endpoints,
    serviceaccount,
    rootca,
    garbagecollector,
    namespace,
    job,
    ttlafterfinished,
    nodeipam,
    nodelifecycle,
    tainteviction,
    podgc
);

pub async fn run(
    options: Options,
    client_for: &(dyn Fn(&str) -> Client + Send + Sync),
    stop: CancellationToken,
) -> Result<(), Error> {
    for name in &options.controllers {
        let name = name.strip_prefix('-').unwrap_or(name);
        if name != "*" && !CONTROLLERS.iter().any(|(n, _, _)| *n == name) {
            return Err(Error::Options(format!(
                "{name:?} is not in the list of known controllers"
            )));
        }
    }
    let options = Arc::new(options);
    if !options.leader_elect {
        return lead(options, client_for, stop).await;
    }
    let election = LeaderElection::new("kube-system", MANAGER, &options.identity);
    let outcome = Mutex::new(Ok(()));
    election
        .run(client_for(MANAGER), stop.clone(), |leading| {
            let lost = leading.lost().clone();
            async {
                let ended = lead(options.clone(), client_for, lost).await;
                *outcome.lock() = ended;
            }
        })
        .await;
    outcome.into_inner()?;
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(Error::LeadershipLost)
    }
}

async fn lead(
    options: Arc<Options>,
    client_for: &(dyn Fn(&str) -> Client + Send + Sync),
    stop: CancellationToken,
) -> Result<(), Error> {
    // Whatever ends this future ends the informers and the controllers with it.
    let stop = stop.child_token();
    let _end = stop.clone().drop_guard();
    let factory = InformerFactory::new(client_for(MANAGER), stop.clone());
    let mut running = JoinSet::new();
    for (name, account, start) in CONTROLLERS.iter().filter(|(n, _, _)| options.enabled(n)) {
        let client = client_for(account);
        let ctx = Context {
            events: EventRecorder::new(client.clone(), account, ""),
            client,
            factory: factory.clone(),
            options: options.clone(),
        };
        let controller = start(ctx);
        let stop = stop.clone();
        running.spawn(async move {
            stop.run_until_cancelled(controller).await;
            *name
        });
    }
    tracing::info!(controllers = running.len(), "controllers run");
    tokio::select! {
        () = stop.cancelled() => {
            while running.join_next().await.is_some() {}
            Ok(())
        }
        ended = running.join_next() => match ended {
            _ if stop.is_cancelled() => Ok(()),
            Some(Ok(name)) => Err(Error::ControllerEnded(name)),
            _ => Err(Error::ControllerEnded("panicked")),
        }
    }
}
