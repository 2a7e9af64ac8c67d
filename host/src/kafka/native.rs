//! The few calls of librdkafka that the safe wrapper lacks: a partition's own queue, read in batches.
//!
//! Taking messages one by one costs more than decoding them, and the wrapper's batch-less queue loses
//! wake-ups; the batch call on the consumer's own queue breaks rebalancing. So each partition's
//! queue is cut off from the consumer's and read by itself: a partition that nobody reads fills its
//! own queue up to librdkafka's limit and stops fetching, without pause, resume or seek.
//! End-of-partition events must stay off: the batch call counts such an event as a message that was
//! taken, and a rebalance, which rewinds to what was taken, then skips the record that comes next.
//! A queue is of one topic: when the client goes on with another one of the same name, it gives nothing more.
//! Invariant: every message and queue keeps the client alive that made it.
#![allow(unsafe_code, reason = "calls of librdkafka that rdkafka does not wrap; each says why it is sound")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::thread::Thread;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::{Context, has_fetched_only};
use super::partition::{Queue, Taken};
use crate::pipeline::batch::{Record, Records};

/// The failure of a queue whose topic is not the one any more that the client fetches.
pub(super) const OTHER_TOPIC: sys::rd_kafka_resp_err_t =
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID;

/// A partition's own queue.
pub(super) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    topic: CString,
    /// The topic's identity, where it has one.
    topic_id: Option<Arc<str>>,
    partition: i32,
    consumer: Arc<BaseConsumer<Context>>,
    /// Unparked when the queue fills; librdkafka holds a pointer to it until the drop.
    reader: Box<Thread>,
    /// Where a batch's messages are put before they are sorted; kept for its memory.
    slots: Vec<*mut sys::rd_kafka_message_t>,
}

impl PartitionQueue {
    /// Cuts a partition's queue off from the consumer's. Must happen before the assignment; `reader`
    /// is unparked whenever the queue is filled again.
    pub(super) fn open(
        consumer: &Arc<BaseConsumer<Context>>,
        (topic, topic_id): (&str, Option<Arc<str>>),
        partition: i32,
        reader: Thread,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let reader = Box::new(reader);
        // SAFETY: the client outlives the call; the returned queue is ours to destroy.
        let queue = NonNull::new(unsafe {
            sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition)
        })?;
        let opaque = ptr::from_ref::<Thread>(&reader).cast_mut().cast::<c_void>();
        // SAFETY: the queue is alive; `reader` is boxed and lives until `drop` has disabled the callback.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(unpark), opaque);
        }
        let consumer = Arc::clone(consumer);
        Some(Self { queue, topic, topic_id, partition, consumer, reader, slots: Vec::new() })
    }

    /// Whether everything that the client has handed out so far is of the queue's topic.
    fn is_current(&self) -> bool {
        has_fetched_only(&self.consumer, self.topic_id.as_deref())
    }
}

impl Queue for PartitionQueue {
    type Messages = Messages;

    fn take(&mut self, max: usize) -> Taken<Messages> {
        self.slots.clear();
        self.slots.resize(max, ptr::null_mut());
        // SAFETY: `slots` has room for `max` pointers; the queue is alive.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.slots.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        let mut taken = Taken {
            messages: Messages { messages: Vec::with_capacity(count), _consumer: Arc::clone(&self.consumer) },
            error: None,
            full: count == max,
        };
        for &slot in &self.slots[..count] {
            let Some(message) = NonNull::new(slot).map(Message) else {
                continue;
            };
            // SAFETY: librdkafka gave us the message; it is destroyed by `Message::drop` only.
            let err = unsafe { message.0.as_ref() }.err;
            if err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                taken.messages.messages.push(message);
            } else {
                // SAFETY: the message is alive; the words are its own, or static.
                let words = unsafe { CStr::from_ptr(sys::rd_kafka_message_errstr(message.0.as_ptr())) };
                taken.error = Some((err, words.to_string_lossy().into_owned()));
            }
        }
        let taken_anything = !taken.messages.messages.is_empty() || taken.error.is_some();
        if taken_anything && !self.is_current() {
            // Which of these messages are of the former topic cannot be told.
            taken.messages.messages.clear();
            taken.full = false;
            taken.error = Some((OTHER_TOPIC, "the topic was made anew".to_owned()));
        }
        taken
    }

    fn end(&self) -> Option<i64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client outlives the call and the pointers are ours.
        let err = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                self.topic.as_ptr(),
                self.partition,
                &mut low,
                &mut high,
            )
        };
        let known = err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0;
        (known && self.is_current()).then_some(high)
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: after the first call returns no callback runs or will run, so that `reader` may go;
        // the queue is ours and destroyed once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
        self.reader.unpark();
    }
}

/// How many events wait in a consumer's own queue.
pub(super) fn waiting_events(consumer: &BaseConsumer<Context>) -> usize {
    // SAFETY: the client outlives the calls; the handle of the queue is ours and given back once.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        if queue.is_null() {
            return 0;
        }
        let waiting = sys::rd_kafka_queue_length(queue);
        sys::rd_kafka_queue_destroy(queue);
        waiting
    }
}

/// Called by librdkafka's threads when an empty queue gets something.
unsafe extern "C" fn unpark(_client: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the boxed thread of a queue whose drop disables this callback first.
    unsafe { &*opaque.cast::<Thread>() }.unpark();
}

/// A message of librdkafka's, destroyed when dropped.
struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is plain memory behind an atomic reference count; librdkafka lets any thread
// read and destroy it.
unsafe impl Send for Message {}
// SAFETY: reading a message changes nothing in it.
unsafe impl Sync for Message {}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: we own the message, and this is its only destruction.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// The messages of one read.
pub(super) struct Messages {
    messages: Vec<Message>,
    /// Declared last, so that the client goes after its messages.
    _consumer: Arc<BaseConsumer<Context>>,
}

impl super::partition::Messages for Messages {
    fn drop_before(&mut self, offset: i64) {
        let seen = (0..self.len()).take_while(|&index| self.get(index).offset < offset).count();
        self.messages.drain(..seen);
    }

    fn split_before(&mut self, offset: i64) -> Self {
        let at = (0..self.len()).position(|index| self.get(index).offset >= offset).unwrap_or(self.len());
        let rest = self.messages.split_off(at);
        Self { messages: std::mem::replace(&mut self.messages, rest), _consumer: Arc::clone(&self._consumer) }
    }
}

impl Records for Messages {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn get(&self, index: usize) -> Record<'_> {
        let pointer = self.messages[index].0;
        // SAFETY: the message lives as long as `self`.
        let message = unsafe { pointer.as_ref() };
        let payload = if message.payload.is_null() {
            &[][..]
        } else {
            // SAFETY: librdkafka says that `len` bytes stand there, for as long as the message lives.
            unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
        };
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; `kind` is ours.
        let timestamp_ms = unsafe { sys::rd_kafka_message_timestamp(pointer.as_ptr(), &mut kind) };
        let known =
            kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp_ms >= 0;
        Record { offset: message.offset, timestamp_ms: known.then_some(timestamp_ms), payload }
    }
}
