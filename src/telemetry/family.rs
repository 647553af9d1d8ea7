//! Series of one name: registered once, found by their place, without asking the registry again.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{OnceLock, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, SharedString, with_recorder};

use super::labels::{Labels, NameLabel, Values};

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often it lay below each of the bounds of its buckets.
    Histogram,
}

/// The most names of the signed policy that a label has in the life of a process: one that runs for a year under many policies must
/// not grow, and what reads `/metrics` must not, either.
pub(super) const NAMES_MAX: usize = 32;

/// What stands for the names above [`NAMES_MAX`], and for a name of no policy.
pub(super) const OTHER: &str = "other";

const METADATA: Metadata<'static> = Metadata::new("writ", Level::INFO, None);

/// A series of one kind.
pub(super) trait Handle: Clone {
    const KIND: Kind;

    fn register(key: &Key) -> Self;

    /// Counts something, another thing at another place.
    #[cfg(test)]
    fn exercise(&self, place: u32);
}

impl Handle for Counter {
    const KIND: Kind = Kind::Counter;

    fn register(key: &Key) -> Counter {
        with_recorder(|recorder| recorder.register_counter(key, &METADATA))
    }

    #[cfg(test)]
    fn exercise(&self, place: u32) {
        self.increment(1);
        self.increment(place.into());
    }
}

impl Handle for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn register(key: &Key) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(key, &METADATA))
    }

    #[cfg(test)]
    fn exercise(&self, place: u32) {
        self.set(place);
        self.increment(0.25);
    }
}

impl Handle for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn register(key: &Key) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
    }

    #[cfg(test)]
    fn exercise(&self, place: u32) {
        super::declared::BUCKETS.iter().for_each(|bound| self.record(bound * f64::from(1 + place % 3)));
    }
}

/// A series for each combination of its labels.
pub(super) struct Family<H, L> {
    name: &'static str,
    /// Of the signed policy, as the first label.
    named: Option<(&'static str, SharedString)>,
    handles: Box<[OnceLock<H>]>,
    labels: PhantomData<L>,
}

impl<H: Handle, L: Labels> Family<H, L> {
    pub(super) const KIND: Kind = H::KIND;

    /// Its labels, and what each of them may be.
    pub(super) fn labels() -> Vec<(&'static str, Values)> {
        L::NAMES.iter().copied().zip(L::values()).collect()
    }

    /// Begins each series that is to be expected, at 0: what appears with its first event has no increase to be seen.
    pub(super) fn begun(name: &'static str, begins: impl Fn(L) -> bool) -> Family<H, L> {
        Family::of(name, None, begins)
    }

    fn of(name: &'static str, named: Option<(&'static str, SharedString)>, begins: impl Fn(L) -> bool) -> Family<H, L> {
        let every = L::every();
        let handles = every.iter().map(|_| OnceLock::new()).collect();
        let family = Family { name, named, handles, labels: PhantomData };
        for labels in every.into_iter().filter(|labels| begins(*labels)) {
            family.with(labels, |_| ());
        }
        family
    }

    /// The series with these labels. One that nobody expected begins now.
    pub(super) fn with(&self, labels: L, then: impl FnOnce(&H)) {
        if let Some(handle) = self.handles.get(labels.place()) {
            then(handle.get_or_init(|| H::register(&self.key(labels))));
        }
    }

    #[cfg(test)]
    pub(super) fn exercise(&self) {
        for (place, handle) in (0..).zip(self.handles.iter()) {
            handle.get().into_iter().for_each(|handle| handle.exercise(place));
        }
    }

    fn key(&self, labels: L) -> Key {
        let named = self.named.iter().map(|(label, name)| metrics::Label::new(*label, name.clone()));
        let closed = L::NAMES.iter().zip(labels.texts()).map(|(label, text)| metrics::Label::new(*label, text));
        Key::from_parts(self.name, named.chain(closed).collect::<Vec<_>>())
    }
}

/// The same for each name of the signed policy, [`NAMES_MAX`] at most; what is above that, or has no name there, is [`OTHER`].
pub(super) struct Named<H, N, L> {
    name: &'static str,
    begins: fn(L) -> bool,
    other: Family<H, L>,
    named: RwLock<BTreeMap<String, Family<H, L>>>,
    of: PhantomData<N>,
}

impl<H: Handle, N: NameLabel, L: Labels> Named<H, N, L> {
    pub(super) const KIND: Kind = H::KIND;

    /// Its labels, and what each of them may be.
    pub(super) fn labels() -> Vec<(&'static str, Values)> {
        let named = (N::NAME, Values::Named { most: NAMES_MAX, others: OTHER });
        std::iter::once(named).chain(Family::<H, L>::labels()).collect()
    }

    /// Begins those of [`OTHER`].
    pub(super) fn begun(name: &'static str, begins: fn(L) -> bool) -> Named<H, N, L> {
        let other = Family::of(name, Some((N::NAME, OTHER.into())), begins);
        Named { name, begins, other, named: RwLock::default(), of: PhantomData }
    }

    /// Names of a policy that comes into force. Those that were there before keep their series.
    pub(super) fn name<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if named.len() < NAMES_MAX && name != OTHER && !named.contains_key(name) {
                let label = (N::NAME, SharedString::from(name.to_owned()));
                named.insert(name.to_owned(), Family::of(self.name, Some(label), self.begins));
            }
        }
    }

    /// The series of this name with these labels.
    pub(super) fn with(&self, name: &str, labels: L, then: impl FnOnce(&H)) {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(name).unwrap_or(&self.other).with(labels, then);
    }

    #[cfg(test)]
    pub(super) fn exercise(&self) {
        self.name(["shop", "bank"].into_iter());
        self.named.read().unwrap_or_else(PoisonError::into_inner).values().for_each(Family::exercise);
    }
}

impl<N: NameLabel> Named<Gauge, N, ()> {
    /// Sets every series: to what is said of its name, or to 0; that of [`OTHER`] to what all the rest is together.
    pub(super) fn set<'a>(&self, said: impl Iterator<Item = (&'a str, f64)>, together: fn(f64, f64) -> f64) {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let mut said: BTreeMap<&str, f64> = said.collect();
        for (name, family) in named.iter() {
            let value = said.remove(name.as_str()).unwrap_or_default();
            family.with((), |it| it.set(value));
        }
        let rest = said.into_values().fold(0.0, together);
        self.other.with((), |it| it.set(rest));
    }
}
