//! The numbers for programs.

use serde_json::{Map, Value, json};

use super::rows;
use crate::{
    apps::Contender,
    machine::Machine,
    rounds::{Metric, Samples},
};

/// Everything that the table says.
#[must_use]
pub fn json(samples: &Samples, machine: &Machine, rounds: usize) -> Value {
    let contenders: Map<String, Value> = Contender::ALL
        .iter()
        .map(|contender| {
            let mut values = Map::new();
            for (metric, name) in NAMES {
                if let Some(spread) = samples.spread(*contender, metric) {
                    let value = json!({"median": spread.median, "min": spread.min, "max": spread.max});
                    values.insert(name.to_owned(), value);
                }
            }
            if let Some(reason) = samples.lost.get(contender) {
                values.insert("lost".to_owned(), json!(reason));
            }
            (contender.name().to_lowercase(), Value::Object(values))
        })
        .collect();
    let ratios: Vec<Value> = rows(samples)
        .into_iter()
        .map(|row| {
            json!({
                "what": row.what, "against": row.peer.map(Contender::name), "ratio": row.ratio,
                "goal": row.goal.text(), "met": row.ratio.map(|ratio| row.goal.is_met(ratio)),
            })
        })
        .collect();
    json!({"machine": machine, "rounds": rounds, "contenders": contenders, "ratios": ratios})
}

const NAMES: [(Metric, &str); 14] = [
    (Metric::FirstAnswer, "first_answer_ms"),
    (Metric::IdleMemory, "idle_memory_mib"),
    (Metric::LoadedMemory, "loaded_memory_mib"),
    (Metric::PeakMemory, "peak_memory_mib"),
    (Metric::FirstItem, "first_item_ms"),
    (Metric::SteadyItem, "steady_item_ms"),
    (Metric::FirstToSteady, "first_to_steady"),
    (Metric::CpuPerItem, "cpu_per_item_us"),
    (Metric::BareCpuPerItem, "bare_cpu_per_item_us"),
    (Metric::CpuToBare, "cpu_to_bare"),
    (Metric::SdkCpuPerItem, "sdk_cpu_per_item_us"),
    (Metric::ItemsPerSecond, "items_per_second_on_one_core"),
    (Metric::HarnessShare, "harness_share_of_the_other_core_percent"),
    (Metric::PackageSize, "package_bytes"),
];
