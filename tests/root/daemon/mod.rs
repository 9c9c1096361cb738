mod hung_storage;
