// Placeholder until the first file of KVNet lands.
