print("kvnode: not built yet")
