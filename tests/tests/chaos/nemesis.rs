//! Does to a deployment what the schedule says, and waits each time until it is whole again.

use super::guest::Guest;
use super::machine::{Done, Machine};
use super::overseer::Overseer;
use super::schedule::{Fault, Planned, Schedule};
use sealdex_tests::history::{Moment, Recorder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whoever breaks things.
pub(crate) struct Nemesis {
    machines: Vec<Arc<dyn Machine>>,
    guest: Option<Arc<Guest>>,
    overseer: Overseer,
    recorder: Arc<Recorder>,
}

/// A fault that was.
pub(crate) struct Struck {
    /// What was planned.
    pub(crate) planned: Planned,
    /// When it began.
    pub(crate) begin: Moment,
    /// When everything had been put right again, as far as that is the nemesis's work.
    pub(crate) mended: Moment,
    /// When every node said that it was well.
    pub(crate) well: Moment,
}

impl Nemesis {
    /// A nemesis of these nodes, on the clock of a history.
    pub(crate) fn new(
        machines: &[Arc<dyn Machine>],
        guest: Option<Arc<Guest>>,
        overseer: Overseer,
        recorder: &Arc<Recorder>,
    ) -> Self {
        Self {
            machines: machines.to_vec(),
            guest,
            overseer,
            recorder: recorder.clone(),
        }
    }

    /// Runs the schedule, and begins no fault after `time`. An error is a deployment that did not come back, or a fault that could not be
    /// done.
    pub(crate) async fn run(self, schedule: Schedule, time: Duration) -> Result<Vec<Struck>, String> {
        let strike = move || {
            let begun = Instant::now();
            let struck: Result<Vec<Struck>, String> = schedule
                .0
                .into_iter()
                .take_while(|_| begun.elapsed() < time)
                .map(|planned| self.strike(planned))
                .collect();
            self.overseer.wait_until_whole()?;
            struck
        };
        tokio::task::spawn_blocking(strike)
            .await
            .map_err(|error| error.to_string())?
    }

    fn strike(&self, planned: Planned) -> Result<Struck, String> {
        std::thread::sleep(planned.after);
        self.wait_until_all_are_well()
            .and_then(|()| self.overseer.wait_until_whole())
            .map_err(|error| format!("before {planned}: {error}"))?;
        println!("  {planned}");
        let begin = self.recorder.now();
        self.carry_out(&planned)
            .map_err(|error| format!("{planned}: {error}"))?;
        let mended = self.recorder.now();
        self.wait_until_all_are_well()
            .map_err(|error| format!("{planned}: {error}"))?;
        Ok(Struck {
            planned,
            begin,
            mended,
            well: self.recorder.now(),
        })
    }

    fn carry_out(&self, planned: &Planned) -> Done {
        let struck: Vec<&dyn Machine> = self
            .machines
            .iter()
            .filter(|machine| planned.nodes.iter().any(|name| name == machine.name()))
            .map(AsRef::as_ref)
            .collect();
        let each = |act: fn(&dyn Machine) -> Done| struck.iter().try_for_each(|machine| act(*machine));
        match planned.fault {
            Fault::Kill | Fault::RestartAll => {
                each(|machine| machine.kill())?;
                std::thread::sleep(planned.lasts);
                each(|machine| machine.start())
            }
            Fault::Wipe => {
                each(|machine| machine.kill())?;
                each(|machine| machine.wipe())?;
                std::thread::sleep(planned.lasts);
                each(|machine| machine.start())
            }
            Fault::Pause => {
                each(|machine| machine.pause())?;
                std::thread::sleep(planned.lasts);
                each(|machine| machine.resume())
            }
            Fault::Cut => {
                each(|machine| machine.cut())?;
                std::thread::sleep(planned.lasts);
                each(|machine| machine.mend())
            }
            Fault::RollingRestart => struck.iter().try_for_each(|machine| {
                machine.stop()?;
                machine.start()?;
                self.wait_until_all_are_well()
            }),
            Fault::Guest | Fault::Deserter => {
                let guest = self.guest.as_ref().ok_or("there is no guest")?.come()?;
                wait_until_well([&guest as &dyn Machine].into_iter())?;
                std::thread::sleep(planned.lasts);
                if planned.fault == Fault::Guest {
                    self.overseer.decommission(guest.name())?;
                    guest.stop()?;
                }
                Guest::go(&guest)?;
                // The next fault may take another disk.
                self.overseer.wait_until_missed(guest.name())
            }
        }
    }

    fn wait_until_all_are_well(&self) -> Done {
        wait_until_well(self.machines.iter().map(AsRef::as_ref))
    }
}

fn wait_until_well<'a>(machines: impl Iterator<Item = &'a dyn Machine> + Clone) -> Done {
    let given_up = Instant::now() + RECOVERY_TIME_MAX;
    while let Some(ill) = machines.clone().find(|machine| !machine.is_well()) {
        if Instant::now() > given_up {
            return Err(format!("{} is not well after {RECOVERY_TIME_MAX:?}", ill.name()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A node that is not back by then will not come back by itself.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(120);
