mod hung_storage;
mod journal;
mod lock;
mod log;
