//! The id of a topic, and what we may do with it. The Rust client has no safe call for either, so this module wraps
//! `rd_kafka_DescribeTopics`.
//!
//! Every pointer that the C library hands out here is checked, read while its owner lives, and freed by its owner's guard.
#![allow(unsafe_code, reason = "the one place that calls the C library directly")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};

use writ_schemas::errors::Code;

use crate::error::{Failure, Result};

/// What a broker says of a topic.
pub struct Description {
    /// Its id, in base64 as Kafka's own tools print it.
    pub id: String,
    /// What the client that asks may do with it; nothing if the broker does not say.
    pub rights: Option<BTreeSet<Right>>,
}

/// A right on a topic. The broker names more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To read its records.
    Read,
    /// To store records.
    Write,
}

/// Frees a C object when it goes out of scope.
struct Owned<T> {
    at: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `at` is null, or points to an object that `free` frees and that nobody else frees.
    unsafe fn new(at: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>> {
        let at = NonNull::new(at).ok_or_else(|| Failure::new(Code::KafkaUnavailable, "the client gave no answer"))?;
        Ok(Owned { at, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was promised that this frees the object, once.
        unsafe { (self.free)(self.at.as_ptr()) }
    }
}

/// The description of `topic`. Any broker can say it, so `broker` is asked: not every cluster has a controller that answers clients.
///
/// # Errors
/// `ERR_KAFKA_UNAVAILABLE` without an answer in time; `ERR_KAFKA_TOPIC` if the broker does not know the topic.
pub fn of<C: ClientContext>(client: &Client<C>, broker: i32, topic: &str, patience: Duration) -> Result<Description> {
    let unavailable = |why: &str| Failure::new(Code::KafkaUnavailable, format!("describing {topic}: {why}"));
    let unknown = || Failure::new(Code::KafkaTopic, format!("{topic}: the broker does not describe it"));
    let name = CString::new(topic).map_err(|_| unknown())?;
    let mut names = [name.as_ptr()];
    let timeout_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives this call, and each object made here is freed by its guard, last made first, after the
    // last use of what it owns: the description belongs to the event.
    unsafe {
        let collection = Owned::new(
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            c::rd_kafka_TopicCollection_destroy,
        )?;
        let queue = Owned::new(c::rd_kafka_queue_new(client.native_ptr()), c::rd_kafka_queue_destroy)?;
        let options = Owned::new(
            c::rd_kafka_AdminOptions_new(client.native_ptr(), c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            c::rd_kafka_AdminOptions_destroy,
        )?;
        let set = c::rd_kafka_AdminOptions_set_broker(options.at.as_ptr(), broker, std::ptr::null_mut(), 0);
        if set != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(unavailable("no such broker"));
        }
        let asked = c::rd_kafka_AdminOptions_set_include_authorized_operations(options.at.as_ptr(), 1);
        if !asked.is_null() {
            c::rd_kafka_error_destroy(asked);
        }
        c::rd_kafka_DescribeTopics(client.native_ptr(), collection.at.as_ptr(), options.at.as_ptr(), queue.at.as_ptr());
        let event = Owned::new(c::rd_kafka_queue_poll(queue.at.as_ptr(), timeout_ms), c::rd_kafka_event_destroy)?;
        if c::rd_kafka_event_error(event.at.as_ptr()) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(unavailable("the broker gave no answer"));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event.at.as_ptr());
        if result.is_null() {
            return Err(unavailable("another answer came"));
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            return Err(unknown());
        }
        let described = *topics;
        let error = c::rd_kafka_TopicDescription_error(described);
        if !error.is_null() && c::rd_kafka_error_code(error) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(unknown());
        }
        let id = c::rd_kafka_TopicDescription_topic_id(described);
        if id.is_null() {
            return Err(unknown());
        }
        let text = c::rd_kafka_Uuid_base64str(id);
        if text.is_null() {
            return Err(unknown());
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        let mut count = 0;
        let operations = c::rd_kafka_TopicDescription_authorized_operations(described, &raw mut count);
        let of = |at| match *operations.add(at) {
            c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ => Some(Right::Read),
            c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE => Some(Right::Write),
            _ => None,
        };
        let rights = (!operations.is_null() && count > 0).then(|| (0..count).filter_map(of).collect());
        Ok(Description { id, rights })
    }
}
