// Placeholder until the first file of KVStorage lands.
