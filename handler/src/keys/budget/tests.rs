//! The budget against vaults that count as Key Vault does, in simulated time.

use std::collections::VecDeque;

use tokio::time::sleep;

use super::*;

/// A vault that bears so many requests in ten seconds.
struct Vault {
    limit: u32,
    counting: Counting,
    telling: Telling,
    state: Mutex<Counted>,
}

#[derive(Clone, Copy, Debug)]
enum Counting {
    /// Those of the last ten seconds.
    Sliding,
    /// Those since the last full ten seconds.
    Fixed,
}

/// Whether it says how long it wants to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    RetryAfter,
    Nothing,
}

#[derive(Default)]
struct Counted {
    recent: VecDeque<Instant>,
    window: u64,
    served: u32,
    refused: u32,
}

impl Vault {
    fn new(limit: u32, counting: Counting, telling: Telling) -> Arc<Self> {
        Arc::new(Self { limit, counting, telling, state: Mutex::default() })
    }

    /// Does it, or refuses.
    fn ask(&self, begun: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        let mut counted = self.state.lock().expect("no panic");
        match self.counting {
            Counting::Sliding => {
                while counted.recent.front().is_some_and(|at| now - *at >= WINDOW) {
                    counted.recent.pop_front();
                }
            }
            Counting::Fixed => {
                let window = (now - begun).as_secs() / WINDOW.as_secs();
                if window != counted.window {
                    counted.window = window;
                    counted.recent.clear();
                }
            }
        }
        if counted.recent.len() < self.limit as usize {
            counted.recent.push_back(now);
            counted.served += 1;
            return Ok(());
        }
        counted.refused += 1;
        let passed = match self.counting {
            Counting::Sliding => (now - counted.recent[0]).as_secs(),
            Counting::Fixed => (now - begun).as_secs() % WINDOW.as_secs(),
        };
        let rest = Duration::from_secs(WINDOW.as_secs() - passed);
        Err(throttled((self.telling == Telling::RetryAfter).then_some(rest)))
    }
}

/// As many items as a handler has in flight, each of which asks again until it is served, then makes place for another.
async fn saturate(vault: &Arc<Vault>, instances: usize, time: Duration) -> Vec<u32> {
    let begun = Instant::now();
    let mut shares = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..instances {
        let (budget, share) = (Arc::new(Budget::default()), Arc::new(Mutex::new(0_u32)));
        shares.push(Arc::clone(&share));
        let places = Arc::new(Mutex::new(0_u64));
        for _ in 0..64 {
            let (vault, budget, share, places) = (vault.clone(), budget.clone(), share.clone(), places.clone());
            workers.push(tokio::spawn(async move {
                while begun.elapsed() < time {
                    let place = {
                        let mut next = places.lock().expect("no panic");
                        *next += 1;
                        *next
                    };
                    loop {
                        let leave = budget.turn(place).await;
                        sleep(Duration::from_millis(15)).await;
                        match vault.ask(begun) {
                            Ok(()) => break budget.served(leave),
                            Err(failure) => budget.refused(leave, &failure),
                        }
                    }
                    *share.lock().expect("no panic") += 1;
                }
            }));
        }
    }
    sleep(time).await;
    let shares = shares.iter().map(|share| *share.lock().expect("no panic")).collect();
    for worker in workers {
        worker.abort();
    }
    shares
}

fn throttled(retry_after: Option<Duration>) -> Failure {
    Failure {
        status: Some(429),
        code: "Throttled".to_owned(),
        message: "HTTP 429 Throttled".to_owned(),
        retry_after,
        transient: true,
    }
}

/// The shares of the limit that were used, and of the requests that were refused.
async fn shares(vault: &Arc<Vault>, instances: usize, time: Duration) -> (f64, f64) {
    saturate(vault, instances, time).await;
    let counted = vault.state.lock().expect("no panic");
    let [limit, served, refused] = [vault.limit, counted.served, counted.refused].map(f64::from);
    let (used, refused) = (served / (limit * time.as_secs_f64() / 10.0), refused / (served + refused));
    let (counting, telling) = (vault.counting, vault.telling);
    println!("{limit} in 10 s, {counting:?}, {telling:?}, {instances} at once: {used:.3} used, {refused:.4} refused");
    (used, refused)
}

/// Key Vault's limits in ten seconds: 4,000 with P-256 and RSA-2048, 250 with RSA-4096 in a security module.
#[tokio::test(start_paused = true)]
async fn nine_tenths_of_a_limit_are_used_and_hardly_anything_is_refused() {
    for (limit, time) in [(250, 300), (4_000, 120)] {
        for counting in [Counting::Sliding, Counting::Fixed] {
            for telling in [Telling::RetryAfter, Telling::Nothing] {
                let vault = Vault::new(limit, counting, telling);
                let (used, refused) = shares(&vault, 1, Duration::from_secs(time)).await;
                assert!(used > 0.9, "{limit} {counting:?} {telling:?}: {used}");
                assert!(refused < 0.02, "{limit} {counting:?} {telling:?}: {refused}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn instances_that_know_nothing_of_each_other_share_a_limit() {
    for telling in [Telling::RetryAfter, Telling::Nothing] {
        let vault = Vault::new(1_000, Counting::Sliding, telling);
        let shares = saturate(&vault, 4, Duration::from_mins(10)).await;
        let (least, most) = (shares.iter().min().expect("four"), shares.iter().max().expect("four"));
        assert!(least * 4 > *most, "{telling:?} {shares:?}");
        assert!(shares.iter().sum::<u32>() > 54_000, "{telling:?} {shares:?}");
    }
}

/// The window fills in a second, and refuses everything for the next nine.
#[tokio::test(start_paused = true)]
async fn a_full_window_says_nothing_of_the_pace() {
    let vault = Vault::new(1_000, Counting::Sliding, Telling::Nothing);
    saturate(&vault, 1, Duration::from_secs(20)).await;
    let counted = vault.state.lock().expect("no panic");
    assert!(counted.served > 1_800, "{}", counted.served);
}

/// A budget whose vault has just refused what had this leave.
async fn cut(pause: u64) -> (Arc<Budget>, Leave) {
    let budget = Arc::new(Budget::default());
    let leave = budget.turn(0).await;
    sleep(Duration::from_millis(10)).await;
    budget.refused(leave, &throttled(Some(Duration::from_secs(pause))));
    (budget, leave)
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_before_the_vault_refuses_and_nothing_is_asked_until_it_wishes() {
    let budget = Budget::default();
    let begun = Instant::now();
    for place in 0..10_000 {
        budget.turn(place).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(budget.delay().is_zero() && budget.reason().is_none());

    let (budget, _) = cut(7).await;
    assert_eq!(budget.pause(), Duration::from_secs(7));
    assert!(budget.delay() > Duration::from_secs(7));
    assert_eq!(budget.reason().expect("it waits").status, Some(429));
    let begun = Instant::now();
    budget.turn(1).await;
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_and_who_gives_up_holds_nobody_up() {
    let (budget, _) = cut(1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for place in [5, 3, 9, 1, 7] {
        let (budget, order) = (budget.clone(), order.clone());
        waiting.push(tokio::spawn(async move {
            budget.turn(place).await;
            order.lock().expect("no panic").push(place);
        }));
        tokio::task::yield_now().await;
    }
    waiting[3].abort();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(*order.lock().expect("no panic"), [3, 5, 7, 9]);
}

/// Sixty-four items are refused together, and that is one refusal.
#[tokio::test(start_paused = true)]
async fn what_was_sent_before_a_cut_does_not_cut_again() {
    let (budget, leave) = cut(1).await;
    let before = budget.delay();
    for _ in 0..64 {
        budget.refused(leave, &throttled(Some(Duration::from_secs(1))));
    }
    assert_eq!(budget.delay(), before);
}

/// What was unused is made up for in part: a fifth of a second's worth.
#[tokio::test(start_paused = true)]
async fn a_pause_in_the_work_is_no_reason_for_a_burst() {
    let budget = Budget::default();
    for place in 0..1_000 {
        let leave = budget.turn(place).await;
        budget.served(leave);
    }
    let leave = budget.turn(1_000).await;
    sleep(Duration::from_millis(1)).await;
    budget.refused(leave, &throttled(Some(Duration::ZERO)));
    sleep(Duration::from_hours(1)).await;
    let begun = Instant::now();
    for place in 0..200 {
        budget.turn(place).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Where it is not our own requests that are too many, a refusal costs a moment and not the rest of a window.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_few_is_waited_out_shortly() {
    let budget = Budget::default();
    for place in 0..5 {
        let leave = budget.turn(place).await;
        budget.served(leave);
    }
    let leave = budget.turn(5).await;
    sleep(Duration::from_millis(1)).await;
    budget.refused(leave, &throttled(None));
    assert!(budget.pause() < Duration::from_millis(300), "{:?}", budget.pause());
}
