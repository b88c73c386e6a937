//! How far a long piece of work has come.

/// What is done, and about how much there is to do. Beside a writer the totals are an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The object that was done last, or is being worked on.
    pub object: &'a str,
    /// Objects done.
    pub objects: u64,
    /// Objects to be done, those included.
    pub objects_total: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes to be done, those included.
    pub bytes_total: u64,
}

/// Told again and again; it must not block.
pub type OnProgress<'a> = &'a (dyn Fn(&Progress<'_>) + Send + Sync);

/// Counts, and tells.
pub(super) struct Meter<'a> {
    told: OnProgress<'a>,
    objects: u64,
    objects_total: u64,
    bytes: u64,
    bytes_total: u64,
}

impl<'a> Meter<'a> {
    /// Nothing is done, and nothing known of what there is.
    pub(super) fn new(told: OnProgress<'a>) -> Meter<'a> {
        Meter {
            told,
            objects: 0,
            objects_total: 0,
            bytes: 0,
            bytes_total: 0,
        }
    }

    /// There is so much more to do.
    pub(super) fn expect(&mut self, objects: u64, bytes: u64) {
        self.objects_total += objects;
        self.bytes_total += bytes;
    }

    /// So many more objects and bytes are done; `object` was the last of them.
    pub(super) fn add(&mut self, object: &str, objects: u64, bytes: u64) {
        self.objects += objects;
        self.bytes += bytes;
        self.tell(object);
    }

    /// Everything is done.
    pub(super) fn finish(&mut self) {
        self.objects = self.objects.max(self.objects_total);
        self.bytes = self.bytes.max(self.bytes_total);
        self.tell("");
    }

    fn tell(&self, object: &str) {
        (self.told)(&Progress {
            object,
            objects: self.objects,
            objects_total: self.objects_total.max(self.objects),
            bytes: self.bytes,
            bytes_total: self.bytes_total.max(self.bytes),
        });
    }
}
