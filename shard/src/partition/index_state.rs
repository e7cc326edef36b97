//! What a partition knows of an index: its live generations, how many items it has here, and who may write to it.

use prost::Message;
use sealdex_core::Generation;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;

/// The state of one index in one partition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct IndexState {
    /// Generations in which every committed item has a row; ascending.
    generations: Vec<Generation>,
    /// No generation below this one can begin any more.
    next_generation: u32,
    /// Items.
    pub(crate) items: u64,
    /// What batches of writes are signed under.
    pub(crate) write_key: WriteKey,
    /// While the index is between two key epochs: what batches may be signed under too.
    pub(crate) next_write_key: Option<WriteKey>,
    /// What has come and gone there.
    pub(crate) inbox: InboxState,
}

/// The inbox of one index in one partition.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct InboxState {
    /// Sealed bytes of what waits.
    pub(crate) bytes: u64,
    /// Items that ever arrived. Each has its number as it arrived.
    pub(crate) arrivals: u64,
    /// The highest number of one that left and is an ordinary item since, by promotion or by another write.
    pub(crate) departed: u64,
}

/// The key epoch of an index and the public key (Ed25519) that its writers sign under.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct WriteKey {
    pub(crate) epoch: u32,
    pub(crate) public: [u8; 32],
}

impl IndexState {
    /// Of an index that is not known yet.
    pub(crate) fn new(write_key: WriteKey) -> Self {
        Self {
            write_key,
            ..Self::default()
        }
    }

    /// What batches of writes may be signed under.
    pub(crate) fn write_keys(&self) -> impl Iterator<Item = WriteKey> + use<> {
        [Some(self.write_key), self.next_write_key].into_iter().flatten()
    }

    pub(crate) fn is_live(&self, generation: Generation) -> bool {
        self.generations.contains(&generation)
    }

    /// Whether it was live once, or was given up before it could begin.
    pub(crate) fn is_retired(&self, generation: Generation) -> bool {
        !self.is_live(generation) && generation.0 < self.next_generation
    }

    pub(crate) fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Makes a generation live, once.
    pub(crate) fn begin(&mut self, generation: Generation) {
        if let Err(place) = self.generations.binary_search(&generation) {
            self.generations.insert(place, generation);
        }
    }

    /// Ends a generation for good, whether it was live or not.
    pub(crate) fn retire(&mut self, generation: Generation) {
        self.generations.retain(|live| *live != generation);
        self.next_generation = self.next_generation.max(generation.0.saturating_add(1));
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::IndexState {
            version: ENTRY_VERSION,
            generations: self.generations.iter().map(|generation| generation.0).collect(),
            next_generation: self.next_generation,
            items: self.items,
            epoch: self.write_key.epoch,
            write_key: self.write_key.public.to_vec().into(),
            inbox: (self.inbox.arrivals > 0).then_some(wire::Inbox {
                bytes: self.inbox.bytes,
                arrivals: self.inbox.arrivals,
                departed: self.inbox.departed,
            }),
            next_epoch: self.next_write_key.map_or(0, |next| next.epoch),
            next_write_key: self
                .next_write_key
                .map(|next| next.public.to_vec().into())
                .unwrap_or_default(),
        }
        .encode_to_vec()
    }

    /// `None` if the record is damaged or from a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = wire::IndexState::decode(bytes).ok()?;
        let ascending = stored.generations.is_sorted_by(|a, b| a < b);
        let inbox = stored.inbox.unwrap_or_default();
        let write_key = WriteKey {
            epoch: stored.epoch,
            public: stored.write_key.as_ref().try_into().ok()?,
        };
        let next_write_key = match stored.next_write_key.as_ref() {
            [] => None,
            public => Some(WriteKey {
                epoch: stored.next_epoch,
                public: public.try_into().ok()?,
            }),
        };
        (stored.version == ENTRY_VERSION && ascending).then(|| Self {
            write_key,
            next_write_key,
            generations: stored.generations.into_iter().map(Generation).collect(),
            next_generation: stored.next_generation,
            items: stored.items,
            inbox: InboxState {
                bytes: inbox.bytes,
                arrivals: inbox.arrivals,
                departed: inbox.departed,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_begins_once_and_ends_for_good() {
        let mut state = IndexState::default();
        state.begin(Generation(2));
        state.begin(Generation(1));
        state.begin(Generation(2));
        assert_eq!(state.generations(), [Generation(1), Generation(2)]);
        state.retire(Generation(1));
        assert!(
            state.is_retired(Generation(1))
                && state.is_live(Generation(2))
                && !state.is_retired(Generation(3))
        );
        // Given up before it began here.
        state.retire(Generation(3));
        assert!(state.is_retired(Generation(3)) && state.is_live(Generation(2)));
    }

    #[test]
    fn a_state_survives_a_round_trip_and_damage_is_noticed() {
        let mut state = IndexState {
            items: 9,
            write_key: WriteKey {
                epoch: 3,
                public: [8; 32],
            },
            inbox: InboxState {
                bytes: 70,
                arrivals: 5,
                departed: 3,
            },
            ..IndexState::default()
        };
        state.begin(Generation(4));
        state.retire(Generation(3));
        let bytes = state.encode();
        assert_eq!(IndexState::decode(&bytes), Some(state.clone()));
        state.next_write_key = Some(WriteKey {
            epoch: 4,
            public: [9; 32],
        });
        assert_eq!(IndexState::decode(&state.encode()), Some(state));
        assert_eq!(IndexState::decode(&[]), None);
        assert_eq!(IndexState::decode(&bytes[..bytes.len() - 1]), None);
    }
}
