use crate::world::World;
use futures::{StreamExt, stream};
#[tokio::test]
async fn cpu_probe() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    let ticks = || {
        let s = std::fs::read_to_string(format!("/proc/{}/stat", world.host.pid().unwrap())).unwrap();
        let f: Vec<&str> = s.rsplit(')').next().unwrap().split(' ').collect();
        (f[12].parse::<u64>().unwrap(), f[13].parse::<u64>().unwrap())
    };
    let n = 1500;
    println!("PID {}", world.host.pid().unwrap());
    let mut perf = std::process::Command::new("perf")
        .args(["record", "-q", "-F", "2000", "-o", "/tmp/perf.data", "-p", &world.host.pid().unwrap().to_string()])
        .spawn()
        .unwrap();
    let a = ticks();
    stream::iter(0..n)
        .for_each_concurrent(16, |i| {
            let world = &world;
            async move {
                assert!(
                    world
                        .sign(&format!(r#"{{"id":"i{i}","payload":{{"amount":"12.50","currency":"EUR"}}}}"#))
                        .await
                        .outcome
                        .succeeded()
                );
            }
        })
        .await;
    let b = ticks();
    println!("user {} us sys {} us per item", (b.0 - a.0) * 10000 / n, (b.1 - a.1) * 10000 / n);
    let _ = std::process::Command::new("kill").args(["-INT", &perf.id().to_string()]).status();
    perf.wait().unwrap();
}
