//! The usage of a server at one moment, and how much it may grow.

/// How much more resident memory a server may have than after the warm-up: 5 %, and 2 MiB that malloc may keep.
const MORE_MEMORY_PERCENT: u64 = 5;
const MORE_MEMORY: u64 = 2048;

/// How many more memory maps a server may have. glibc keeps up to 40 MiB of stacks of ended threads (`pthread_create`, two maps
/// each), and the number of concurrent threads varies.
const MORE_MAPS: u64 = 700;

/// The usage of a server at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Resident memory, in KiB.
    pub resident: u64,
    pub descriptors: u64,
    pub threads: u64,
    pub maps: u64,
    /// Active connections according to the server.
    pub active: u64,
    /// Panics since the start.
    pub panics: u64,
}

impl Reading {
    /// Returns each figure with its name.
    pub fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("resident memory, KiB", self.resident),
            ("descriptors", self.descriptors),
            ("threads", self.threads),
            ("memory maps", self.maps),
            ("active connections", self.active),
            ("panics", self.panics),
        ]
    }

    /// Returns true if and only if the usage is that of `before`, within the bounds for memory.
    pub fn is_like(&self, before: &Self) -> bool {
        let most = before.resident + before.resident * MORE_MEMORY_PERCENT / 100 + MORE_MEMORY;
        self.resident <= most
            && self.descriptors == before.descriptors
            && self.threads == before.threads
            && self.maps <= before.maps + MORE_MAPS
            && self.active == before.active
            && self.panics == 0
    }
}
