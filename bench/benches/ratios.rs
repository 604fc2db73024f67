use bench::{
    apps::{App, Contender},
    load::{Connection, closed_loop, one_by_one},
    process::{Process, cpu_time, resident_memory},
    services::Services,
};
use signet::local::app::AppRoot;
use std::time::Duration;
#[tokio::main]
async fn main() {
    let services = Services::start().await.unwrap();
    let root = AppRoot::find().unwrap();
    for contender in Contender::ALL {
        let app = match App::build(contender, &root, services.authority()).await {
            Ok(a) => a,
            Err(e) => {
                println!("{contender}: {e}");
                continue;
            }
        };
        let process = match Process::start(&app, &services.settings(contender.knows_localhost_names()), None).await {
            Ok(a) => a,
            Err(e) => {
                println!("{contender}: {e}");
                continue;
            }
        };
        println!("{contender} first {:?} rss {:?}", process.first_answer, resident_memory(process.id()).unwrap());
        tokio::time::sleep(Duration::from_secs(2)).await;
        services.delay.set(Duration::from_millis(20));
        let mut c = Connection::open(process.port()).await.unwrap();
        match one_by_one(&mut c, 6).await {
            Ok(t) => println!("{t:?}"),
            Err(e) => {
                println!("{e} {}", process.last_words());
                continue;
            }
        }
        services.delay.set(Duration::ZERO);
        closed_loop(process.port(), 300, Duration::ZERO).await.unwrap();
        let a = cpu_time(process.id()).unwrap();
        let h = cpu_time(std::process::id()).unwrap();
        if std::env::var_os("HOLD").is_some() {
            println!("pid {}", process.id());
        }
        let secs = std::env::var("SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
        let done = closed_loop(process.port(), 2000, Duration::from_secs(secs)).await.unwrap();
        let cpu = cpu_time(process.id()).unwrap() - a;
        let h = cpu_time(std::process::id()).unwrap() - h;
        println!(
            "{contender} {done:?} cpu/item {:?} harness/item {:?} rss {:?} results {} ",
            cpu / done.items,
            h / done.items,
            resident_memory(process.id()).unwrap(),
            services.results()
        );
    }
}
