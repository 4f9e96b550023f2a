//! Does a plan: a thread for every fault while it lasts, one that begins them, and one that watches what comes of it.

use super::act;
use super::heal;
use super::plan::Plan;
use super::poll::Poller;
use super::scene::{Act, Scene};
use super::step::Step;
use crate::history::{Phase, Recorder};
use crate::world::{World, WorldError};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A plan that is being done. When it goes, nothing is watched any more; what is broken stays so unless it was healed.
pub struct Nemesis {
    scene: Arc<Scene>,
    conductor: Option<JoinHandle<()>>,
    poller: Option<JoinHandle<()>>,
    end: Arc<AtomicBool>,
}

impl Nemesis {
    /// Begins. The threads descend from the calling one, which is in the namespaces of the world.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(world: Arc<World>, recorder: Arc<Recorder>, plan: Plan) -> Result<Nemesis, WorldError> {
        let scene = Arc::new(Scene::new(world, recorder)?);
        let end = Arc::new(AtomicBool::new(false));
        let (watched, over) = (Arc::clone(&scene), Arc::clone(&end));
        let poller = thread("poller", move || Poller::new(watched).run(&over))?;
        let struck = Arc::clone(&scene);
        let conductor = thread("conductor", move || conduct(&struck, plan.steps))?;
        Ok(Nemesis {
            scene,
            conductor: Some(conductor),
            poller: Some(poller),
            end,
        })
    }

    /// Whether everything that was planned has been done.
    pub fn is_done(&self) -> bool {
        self.conductor.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends all faults, undoes what they did, and waits until every member is healthy and a voter.
    ///
    /// # Errors
    /// What is not well when the time is over: the cluster did not recover.
    pub fn heal(&mut self, bound: Duration) -> Result<(), String> {
        let deadline = Instant::now() + bound;
        self.scene.stop();
        if let Some(conductor) = self.conductor.take()
            && conductor.join().is_err()
        {
            return Err("a thread of the faults panicked".to_owned());
        }
        let healed = heal::heal(&self.scene, deadline);
        let nodes: Vec<usize> = self.scene.world.nodes().collect();
        let detail = json!({"error": healed.as_ref().err()});
        self.scene.record(0, Phase::Effect, "healed", &nodes, detail);
        healed
    }
}

impl Drop for Nemesis {
    fn drop(&mut self) {
        self.scene.stop();
        self.end.store(true, Ordering::Release);
        for thread in [self.conductor.take(), self.poller.take()].into_iter().flatten() {
            if thread.join().is_err() {
                eprintln!("a thread of the faults panicked");
            }
        }
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorldError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source: io::Error| WorldError::Io {
            doing: format!("start the thread {name}"),
            source,
        })
}

/// Begins every fault at its time and waits for the end of all.
fn conduct(scene: &Scene, steps: Vec<Step>) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for step in steps {
            let due = begin + Duration::from_millis(step.at_ms);
            if !scene.rest(due.saturating_duration_since(Instant::now())) {
                break;
            }
            scope.spawn(move || {
                let act = Act { scene, step: &step };
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act::run(&act)));
                if done.is_err() {
                    act.effect("fault-panicked", &[], Value::Null);
                }
            });
        }
    });
}
