//! Names of attributes. Those of the semantic conventions are written out here: the crate that lists them knows neither Kafka's nor those of
//! agents' tools yet.

/// `kafka` (messaging spans).
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `poll`, `process`, `send`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `receive`, `process`, `send`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The topic.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// The partition, as text.
pub const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
/// The offset of a record.
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
/// How many records.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// The method (HTTP spans).
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The status.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The route's pattern.
pub const HTTP_ROUTE: &str = "http.route";
/// `http`: TLS ends before us.
pub const URL_SCHEME: &str = "url.scheme";
/// The host that is called.
pub const SERVER_ADDRESS: &str = "server.address";
/// Its port.
pub const SERVER_PORT: &str = "server.port";
/// A registered code.
pub const ERROR_TYPE: &str = "error.type";
/// `execute_tool` (GenAI agent spans).
pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
/// The action.
pub const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";

/// The verdict, or `KNOWN`, or `REFUSED`.
pub const VERDICT: &str = "writ.verdict";
/// A registered code.
pub const CODE: &str = "writ.code";
/// The entry.
pub const SEQ: &str = "writ.seq";
/// How often it was decided before.
pub const ROUND: &str = "writ.round";
/// The gate.
pub const GATE: &str = "writ.gate";
/// How it answered.
pub const GATE_ANSWER: &str = "writ.gate.answer";
/// How many entries a batch has.
pub const BATCH_ENTRIES: &str = "writ.batch.entries";
/// The connector.
pub const CONNECTOR: &str = "writ.connector";
/// How an execution ended.
pub const RECEIPT_STATUS: &str = "writ.receipt.status";
/// The view.
pub const VIEW: &str = "writ.view";
/// The tenant, where operators want to see it.
pub const TENANT: &str = "writ.tenant";
/// The intent's id, where operators want to see it.
pub const INTENT_ID: &str = "writ.intent.id";
