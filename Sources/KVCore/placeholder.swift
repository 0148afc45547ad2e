// Placeholder until the first file of KVCore lands.
