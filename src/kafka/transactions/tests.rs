//! Every answer that the client library may give, against a cluster that is simulated: it does what was asked, or not, and says so, or
//! not; it ends what takes too long; another process comes in between.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// After this time the simulated broker ends a transaction.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is done, and said to be.
    None,
    /// It is not done; the same may be asked again.
    Later,
    /// It is done, and the answer does not come in time.
    DoneLater,
    /// It is not done, and the producer is of no use any more.
    Lost,
    /// It is done, and the producer is of no use any more.
    DoneLost,
    /// The broker stands still for so many seconds, and then it is not done.
    Stopped(u64),
    /// What was sent does not come to be stored, for so many looks.
    Slow(usize),
}

/// A cluster.
#[derive(Default)]
struct Kafka {
    now: Duration,
    /// The one producer that may publish.
    epoch: u64,
    /// When its transaction began, and what is in it.
    open: Option<(Duration, Vec<u32>, Option<Record>)>,
    published: Vec<u32>,
    record: Record,
    faults: Vec<Fault>,
    /// For how many looks the transaction of somebody else hides the record.
    hidden: usize,
    requests: usize,
}

impl Kafka {
    /// What becomes of the next request; time goes on with each.
    fn next(&mut self) -> Fault {
        self.requests += 1;
        let fault = self.faults.pop().unwrap_or(Fault::None);
        self.now += match fault {
            Fault::None => Duration::from_millis(1),
            Fault::Later | Fault::DoneLater => SLICE,
            Fault::Lost | Fault::DoneLost | Fault::Slow(_) => Duration::from_millis(10),
            Fault::Stopped(seconds) => Duration::from_secs(seconds),
        };
        if self.open.as_ref().is_some_and(|(since, ..)| self.now > *since + TIMEOUT) {
            (self.open, self.epoch) = (None, self.epoch + 1);
        }
        fault
    }

    fn fence(&mut self) -> u64 {
        (self.open, self.epoch) = (None, self.epoch + 1);
        self.epoch
    }
}

fn later<T>() -> Result<T, Trouble> {
    Err(Trouble::Later(unavailable("timed out")))
}

fn lost<T>() -> Result<T, Trouble> {
    Err(Trouble::Lost(Failure::new(Code::KafkaFenced, "fenced")))
}

#[derive(Clone)]
struct Simulated(Rc<RefCell<Kafka>>);

struct OfLibrary {
    kafka: Rc<RefCell<Kafka>>,
    epoch: u64,
    slow: Cell<usize>,
}

impl OfLibrary {
    /// A request: what it does is done unless this producer is fenced.
    fn ask(&mut self, does: impl FnOnce(&mut Kafka)) -> Result<(), Trouble> {
        let mut kafka = self.kafka.borrow_mut();
        let fault = kafka.next();
        if kafka.epoch != self.epoch {
            return lost();
        }
        match fault {
            Fault::None => does(&mut kafka),
            Fault::Later | Fault::Stopped(_) => return later(),
            Fault::DoneLater => {
                does(&mut kafka);
                return later();
            }
            Fault::Lost => return lost(),
            Fault::DoneLost => {
                does(&mut kafka);
                return lost();
            }
            Fault::Slow(looks) => {
                does(&mut kafka);
                self.slow.set(looks);
            }
        }
        Ok(())
    }
}

impl Broker for Simulated {
    type Output = u32;
    type Producer = OfLibrary;

    fn producer(&self) -> Result<OfLibrary, Trouble> {
        Ok(OfLibrary { kafka: Rc::clone(&self.0), epoch: 0, slow: Cell::new(0) })
    }

    fn recorded(&self) -> Result<Record, Trouble> {
        let mut kafka = self.0.borrow_mut();
        match kafka.next() {
            Fault::None if kafka.hidden > 0 => {
                kafka.hidden -= 1;
                later()
            }
            Fault::None => Ok(kafka.record),
            Fault::Later | Fault::DoneLater => later(),
            _ => lost(),
        }
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn pause(&self, time: Duration) {
        self.0.borrow_mut().now += time;
    }
}

impl TransactionalProducer for OfLibrary {
    type Output = u32;

    fn fence(&mut self, _: Duration) -> Result<(), Trouble> {
        let mut kafka = self.kafka.borrow_mut();
        match kafka.next() {
            Fault::None | Fault::Slow(_) => self.epoch = kafka.fence(),
            Fault::Later | Fault::Stopped(_) => return later(),
            // The library takes the answer when it is asked again.
            Fault::DoneLater => {
                kafka.fence();
                return later();
            }
            Fault::Lost => return lost(),
            Fault::DoneLost => {
                kafka.fence();
                return lost();
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        self.ask(|kafka| kafka.open = Some((kafka.now, Vec::new(), None)))
    }

    fn send(&mut self, output: &u32) -> Result<bool, Trouble> {
        self.ask(|kafka| kafka.open.iter_mut().for_each(|(_, outputs, _)| outputs.push(*output)))?;
        Ok(true)
    }

    fn send_record(&mut self, record: Record) -> Result<bool, Trouble> {
        self.ask(|kafka| kafka.open.iter_mut().for_each(|(_, _, at)| *at = Some(record)))?;
        Ok(true)
    }

    fn unstored(&mut self) -> Result<usize, Trouble> {
        let left = self.slow.get();
        self.slow.set(left.saturating_sub(1));
        Ok(left)
    }

    fn commit(&mut self, _: Duration) -> Result<(), Trouble> {
        // Asked again, what is committed already stays so.
        self.ask(|kafka| {
            if let Some((_, outputs, Some(record))) = kafka.open.take() {
                kafka.published.extend(outputs);
                kafka.record = record;
            }
        })
    }
}

const OURS: [u8; 16] = [1; 16];

fn at(next: u64) -> Published {
    Published { next: Seq(next), head: [7; 32] }
}

fn simulated(faults: Vec<Fault>) -> (Rc<RefCell<Kafka>>, Simulated) {
    let kafka = Rc::new(RefCell::new(Kafka { faults, ..Kafka::default() }));
    (Rc::clone(&kafka), Simulated(kafka))
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        2 => Just(Fault::Later),
        2 => Just(Fault::DoneLater),
        1 => Just(Fault::Lost),
        1 => Just(Fault::DoneLost),
        1 => (1..90_u64).prop_map(Fault::Stopped),
        1 => (1..40_000_usize).prop_map(Fault::Slow),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is answered to the first requests: each output is published once and in order, and when the answers are good again, few
    /// more requests are needed. Nobody else publishes, so it never ends by itself.
    #[test]
    fn each_output_is_published_once(faults in prop::collection::vec(fault(), 0..60), batches in 1..6_u32) {
        let many = faults.len();
        let (kafka, broker) = simulated(faults);
        let mut transactions = loop {
            // What starts the process starts it again.
            if let Ok(transactions) = Transactions::fence(broker.clone(), OURS) {
                break transactions;
            }
        };
        for batch in 0..batches {
            let outputs = [batch * 2, batch * 2 + 1];
            let ended = transactions.publish(&outputs, at(u64::from(batch) + 1), &|| true);
            prop_assert_eq!(ended, Ok(Ended::Committed));
        }
        let kafka = kafka.borrow();
        prop_assert_eq!(&kafka.published, &(0..batches * 2).collect::<Vec<_>>());
        prop_assert_eq!(kafka.record, Record { at: at(u64::from(batches)), instance: OURS });
        // 5 of a claim, 5 of a batch: of each that was under way when a fault came, and of what there is without one.
        prop_assert!(kafka.requests <= (many + 1) * 40 + 30, "{} requests", kafka.requests);
    }

    /// An end of the process is waited for no longer than it takes to see that nobody answers.
    #[test]
    fn an_end_is_not_kept_waiting(faults in prop::collection::vec(fault(), 0..20)) {
        let (kafka, broker) = simulated(Vec::new());
        let mut transactions = Transactions::fence(broker, OURS).expect("nothing is wrong");
        transactions.published(&|| true).expect("nothing is wrong");
        kafka.borrow_mut().faults = faults.into_iter().chain([Fault::Later; 500]).collect();
        kafka.borrow_mut().faults.retain(|fault| !matches!(fault, Fault::Stopped(_)));
        let before = kafka.borrow().now;
        let ended = transactions.publish(&[1], at(1), &|| false);
        prop_assert_eq!(ended, Ok(Ended::NotNow));
        prop_assert!(kafka.borrow().now - before <= FAREWELL + SLICE * 2);
    }
}

/// A process that is told to end before it has published anything does so all the same, where Kafka answers.
#[test]
fn an_end_right_after_the_start_leaves_nothing_behind() {
    let (kafka, broker) = simulated(Vec::new());
    let mut transactions = Transactions::fence(broker, OURS).expect("nothing is wrong");
    assert_eq!(transactions.publish(&[1, 2], at(1), &|| false), Ok(Ended::Committed));
    assert_eq!(kafka.borrow().published, [1, 2]);
}

/// A broker that stood still for longer than a transaction may take has fenced its producer; nobody else has.
#[test]
fn a_fence_by_the_brokers_own_time_out_is_survived() {
    let (kafka, broker) = simulated(Vec::new());
    let mut transactions = Transactions::fence(broker, OURS).expect("nothing is wrong");
    assert_eq!(transactions.published(&|| true), Ok(Some(Published::default())));
    kafka.borrow_mut().faults = vec![Fault::Stopped(45), Fault::None, Fault::None];
    assert_eq!(transactions.publish(&[1, 2], at(1), &|| true), Ok(Ended::Committed));
    assert_eq!(kafka.borrow().published, [1, 2]);
}

/// Two processes for one ledger: of them one goes on, and it is the one that has published since.
#[test]
fn another_process_is_told_from_a_broker() {
    let (kafka, broker) = simulated(Vec::new());
    let start = |instance| Transactions::fence(broker.clone(), instance).expect("nothing is wrong");
    let (mut first, waits) = (start(OURS), || true);
    assert_eq!(first.publish(&[1], at(1), &waits), Ok(Ended::Committed));
    let mut second = start([2; 16]);
    assert_eq!(second.published(&waits), Ok(Some(at(1))));
    let fenced = first.publish(&[2], at(2), &waits).expect_err("it is fenced");
    assert_eq!(fenced.code, Code::KafkaFenced);
    assert_eq!(second.publish(&[2], at(2), &waits), Ok(Ended::Committed));
    assert_eq!(kafka.borrow().published, [1, 2]);
}

/// Fenced before it had made itself known, a process gives way to the one that went on.
#[test]
fn a_process_that_never_said_a_word_gives_way() {
    let (kafka, broker) = simulated(Vec::new());
    let start = |instance| Transactions::fence(broker.clone(), instance).expect("nothing is wrong");
    let (mut first, waits) = (start(OURS), || true);
    assert_eq!(first.publish(&[1], at(1), &waits), Ok(Ended::Committed));
    let mut second = start([2; 16]);
    kafka.borrow_mut().hidden = 1;
    assert_eq!(second.claim(&waits), later());
    assert_eq!(first.publish(&[2], at(2), &waits), Ok(Ended::Committed));
    // It has read nothing yet, so it starts from what is there, and the first one is then the one that is fenced.
    assert_eq!(second.published(&waits), Ok(Some(at(2))));
    assert_eq!(first.publish(&[3], at(3), &waits).map_err(|failure| failure.code), Err(Code::KafkaFenced));
}

/// The transaction of another ledger hides how far this one is: it waits for that, fenced once.
#[test]
fn what_is_hidden_is_waited_for() {
    let (kafka, broker) = simulated(Vec::new());
    let mut transactions = Transactions::fence(broker, OURS).expect("nothing is wrong");
    kafka.borrow_mut().hidden = 100;
    assert_eq!(transactions.published(&|| true), Ok(Some(Published::default())));
    assert_eq!(kafka.borrow().epoch, 1);
}

/// What is refused for good is told, and nothing is tried again.
#[test]
fn what_is_refused_for_good_ends_it() {
    struct Refusing;
    impl Broker for Refusing {
        type Output = u32;
        type Producer = OfLibrary;
        fn producer(&self) -> Result<OfLibrary, Trouble> {
            Err(Trouble::Final(Failure::new(Code::KafkaAuthorization, "no")))
        }
        fn recorded(&self) -> Result<Record, Trouble> {
            later()
        }
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn pause(&self, _: Duration) {}
    }
    let refused = Transactions::fence(Refusing, OURS).err().map(|failure| failure.code);
    assert_eq!(refused, Some(Code::KafkaAuthorization));
}
