//! What the broker says of a topic: its identity, which a topic made anew does not share, and its partitions.
//!
//! Not for watching: who wants to know of a change asks again. Invariant: everything that librdkafka hands out for an
//! answer is given back, and nothing of it is used afterwards.
#![allow(unsafe_code, reason = "calls of librdkafka that rdkafka does not wrap; each says why it is sound")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};

/// What the broker answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    /// The topic's identity; none from a broker that has no such thing.
    pub(super) id: Option<Arc<str>>,
    /// Its partitions, each with the broker that leads it, if one does.
    pub(super) partitions: Vec<(i32, Option<i32>)>,
}

/// Something of librdkafka's that is ours to give back.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, String> {
        let pointer = NonNull::new(pointer).ok_or("the client has no memory for a question")?;
        Ok(Self { pointer, destroy })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `destroy` is the function that librdkafka names for this kind of thing, which is given back once.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// Asks for a topic. A topic that does not exist is an error with words that say so.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Description, String> {
    let name = CString::new(topic).map_err(|_| format!("topic {topic:?} has no name"))?;
    let event = broker_for(client, topic, timeout)
        .and_then(|broker| ask(client, (&name, broker), timeout))
        .map_err(|words| format!("topic {topic}: {words}"))?;
    let mut count = 0;
    // SAFETY: the event is alive and one of this kind, or null comes back; `count` is ours. The array lives as long
    // as the event, which outlives its use here.
    let described = unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(format!("topic {topic}: the broker's answer is of another kind"));
        }
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if described.is_null() || count == 0 { ptr::null() } else { *described }
    };
    if described.is_null() {
        return Err(format!("topic {topic}: the broker's answer does not name it"));
    }
    // SAFETY: the description belongs to the event and is alive; the function takes a null error for none.
    let code = unsafe { sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(described)) };
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(read(described)),
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
            Err(format!("topic {topic} does not exist (yet)"))
        }
        // SAFETY: the words of an error code are static.
        code => Err(format!("topic {topic}: {}", unsafe { text(sys::rd_kafka_err2str(code)) })),
    }
}

/// Any broker that answers. Left to itself the client asks the controller, which a mock cluster does not have.
fn broker_for<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<i32, String> {
    let known = client.fetch_metadata(Some(topic), timeout);
    let known = known.map_err(|error| format!("no broker has answered: {error}"))?;
    // The first connection may not know yet which broker it has reached.
    let answered = Some(known.orig_broker_id()).filter(|id| *id >= 0);
    let any = || known.brokers().first().map(|broker| broker.id());
    answered.or_else(any).ok_or_else(|| "no broker is known".to_owned())
}

/// Sends a broker the question and waits for the answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    (name, broker): (&CStr, i32),
    timeout: Duration,
) -> Result<Owned<sys::rd_kafka_event_t>, String> {
    let native = client.native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut names = [name.as_ptr()];
    // SAFETY: one name is announced and one is there; librdkafka copies it.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
    let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client outlives the call, and the options.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(native, operation) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
    let mut words: [c_char; 256] = [0; 256];
    // SAFETY: the options are alive, and the words have as much room as is said.
    unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            timeout_ms,
            words.as_mut_ptr(),
            words.len(),
        );
        sys::rd_kafka_AdminOptions_set_broker(options.get(), broker, words.as_mut_ptr(), words.len());
    }
    // SAFETY: the client outlives the queue, which is given back at the end of this function; an answer that comes
    // later is dropped by librdkafka with the queue.
    let queue = unsafe { sys::rd_kafka_queue_new(native) };
    let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
    // SAFETY: everything that is handed in is alive; librdkafka copies topics and options.
    unsafe { sys::rd_kafka_DescribeTopics(native, topics.get(), options.get(), queue.get()) };
    // SAFETY: the queue is alive; the event that comes back is ours.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.get(), timeout_ms) };
    let event = Owned::new(event, sys::rd_kafka_event_destroy).map_err(|_| "no broker has answered")?;
    // SAFETY: the event is alive, and its words live as long.
    unsafe {
        match sys::rd_kafka_event_error(event.get()) {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            _ => Err(text(sys::rd_kafka_event_error_string(event.get()))),
        }
    }
}

/// Copies what a description says.
fn read(described: *const sys::rd_kafka_TopicDescription_t) -> Description {
    let mut count = 0;
    // SAFETY: the caller's event keeps the description alive; `count` is ours, and as many partitions stand in the
    // array. A partition without a leader has none.
    unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(described);
        let named = !id.is_null()
            && (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id))
                != (0, 0);
        let id = named.then(|| text(sys::rd_kafka_Uuid_base64str(id)).into());
        let partitions = sys::rd_kafka_TopicDescription_partitions(described, &mut count);
        let partitions =
            if partitions.is_null() { &[][..] } else { slice::from_raw_parts(partitions, count) };
        let leader = |&partition: &*const sys::rd_kafka_TopicPartitionInfo_t| {
            let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
            let leader = (!leader.is_null()).then(|| sys::rd_kafka_Node_id(leader)).filter(|id| *id >= 0);
            (sys::rd_kafka_TopicPartitionInfo_partition(partition), leader)
        };
        Description { id, partitions: partitions.iter().map(leader).collect() }
    }
}

/// Copies words.
///
/// # Safety
/// `words` is null, or ends with a zero and is alive.
unsafe fn text(words: *const c_char) -> String {
    if words.is_null() {
        return String::new();
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}
