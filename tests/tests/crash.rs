//! kill -9 at random moments, on one data directory, round after round: nothing acknowledged is lost, nothing deleted comes back, no
//! item is half there. Some rounds kill a training half way. `SEALDEX_CRASH_ROUNDS` sets the number of rounds.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::life::Life;
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::server::{Home, Server};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinHandle;

const DIMENSION: usize = 24;
/// Enough to be worth training.
const BASE_ITEMS: usize = 10_500;
const WRITERS_PER_INDEX: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kill_nine() {
    let rounds: usize = std::env::var("SEALDEX_CRASH_ROUNDS").map_or(12, |given| given.parse().unwrap());
    let mut random = Random::from_clock("crash rounds", "SEALDEX_CRASH_SEED");
    let home = Home::new();
    let mut server = home.start().await;
    let mut lives = prepare(&server, &mut random).await;
    let mut trainings_killed = 0;
    for round in 0..rounds {
        let training = (round % 3 == 1).then(|| start_training(&lives[1].index));
        let writing = lives
            .iter_mut()
            .flat_map(|life| life.start_writing())
            .collect::<Vec<_>>();
        if training.is_some() {
            trainings_killed += usize::from(wait_for_training(&lives[1].index).await);
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(500_000) as u64)).await;
        server.kill();
        let mut writers = Vec::new();
        for task in writing {
            writers.push(task.await.expect("a writer found a fault"));
        }
        if let Some(training) = training {
            training.await.unwrap();
        }
        server = home.start().await;
        for life in &mut lives {
            life.take_back(&mut writers);
            life.check(&server, round, &mut random).await;
        }
    }
    lives[1].index.train().await;
    for life in &mut lives {
        life.check_base_whole().await;
        life.check(&server, rounds, &mut random).await;
    }
    server.stop().await;
    let server = home.start().await;
    for life in &mut lives {
        life.check(&server, rounds, &mut random).await;
    }
    let acknowledged: usize = lives.iter().map(|life| life.acknowledged()).sum();
    println!(
        "{rounds} kills, {trainings_killed} of them in a training, {acknowledged} acknowledged writes, none lost"
    );
    assert!(
        acknowledged > rounds * 20,
        "too little was written for the kills to mean anything: {acknowledged}"
    );
    assert!(
        trainings_killed > 0 || rounds < 2,
        "no training was killed half way"
    );
}

/// An untrained index and a trained one, the second with many items that stay.
async fn prepare(server: &Server, random: &mut Random) -> Vec<Life> {
    let mut lives = Vec::new();
    for (name, base_items) in [("untrained", 0), ("trained", BASE_ITEMS)] {
        let base = clumped(random, base_items, 100, DIMENSION);
        lives.push(Life::begin(server, name, base, DIMENSION, WRITERS_PER_INDEX, random).await);
    }
    lives
}

fn start_training(index: &Index) -> JoinHandle<()> {
    let index = index.clone();
    tokio::spawn(async move {
        // Killed, or finished before the kill: both are right.
        if let Ok(reply) = index.call("indexes/train", json!({})).await {
            reply.ok();
        }
    })
}

/// True once the server says that it trains; false if the training was too quick to be seen.
async fn wait_for_training(index: &Index) -> bool {
    for _ in 0..1_000 {
        if index.is_training().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}
