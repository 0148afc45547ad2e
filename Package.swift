// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target of this package: Swift 6 mode, warnings are errors, no implicit member imports.
let habits: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// What serves requests: exclusive access to memory is checked where it can be at compile time, and at run time in debug
/// builds. In release builds the run-time checks take a twelfth of a GET's CPU.
let hotHabits = habits + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

func swift(_ name: String, _ dependencies: [Target.Dependency] = [], isHot: Bool = false) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: isHot ? hotHabits : habits)
}

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: habits)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
  .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: habits)
}

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let coreMetrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let tracing: Target.Dependency = .product(name: "Tracing", package: "swift-distributed-tracing")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let package = Package(
  name: "RingKV",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "KVClient", targets: ["KVClient"]),
    .library(name: "KVClientCodable", targets: ["KVClientCodable"]),
    .library(name: "KVClientTesting", targets: ["KVClientTesting"]),
    .executable(name: "kvnode", targets: ["kvnode"]),
    .executable(name: "kvctl", targets: ["kvctl"]),
    .executable(name: "kvsim", targets: ["kvsim"]),
  ],
  traits: [
    // Bugs that the simulator must find, chosen by `kvsim --plant`. Off by default: without it they are not compiled.
    .trait(name: "Planted", description: "Compiles the planted bugs into the core, for the simulator alone.")
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // System libraries (header-only or installed by Scripts/setup.sh).
    .systemLibrary(name: "CRocksDB"),
    .systemLibrary(name: "CXXHash"),
    .systemLibrary(name: "CLinux"),

    // Nouns and their bytes.
    swift("KVModel", ["CXXHash"]),
    // Verbs, no IO.
    swift("KVCore", ["KVModel"], isHot: true),
    // Shells.
    swift("KVNet", ["CLinux"], isHot: true),
    swift("KVStorage", ["KVModel", "KVCore", "CRocksDB"], isHot: true),
    swift("KVServer", ["KVModel", "KVCore", "KVStorage", "KVNet", logging], isHot: true),
    swift("KVClient", ["KVModel", "KVNet", logging, lifecycle, coreMetrics, tracing]),
    // Values as JSON: the part of the client that needs Foundation.
    swift("KVClientCodable", ["KVClient"]),
    // A store in memory behind the client's protocol, for users' tests: the nodes' own merge decides.
    swift("KVClientTesting", ["KVModel", "KVCore", "KVClient"]),
    // A cluster in one thread and one seed.
    swift("KVSimulator", ["KVModel", "KVCore"]),
    // Programs.
    executable("kvnode", ["KVModel", "KVStorage", "KVServer", argumentParser, logging, yams]),
    executable("kvctl", ["KVModel", "KVNet", "KVClient", argumentParser, logging, histogram]),
    executable("kvsim", ["KVModel", "KVCore", "KVSimulator", "KVClient", argumentParser, logging]),

    tests("KVModelTests", ["KVModel"], resources: [.copy("Fixtures")]),
    tests("KVCoreTests", ["KVModel", "KVCore"], resources: [.copy("Scenarios")]),
    // Real processes: kvnode and kvctl are found at $RINGKV_BIN, or beside the test bundle.
    tests("ClusterTests", ["KVModel", "KVClient", logging]),
    tests("KVNetTests", ["KVNet"]),
    // A node in memory, for the tests of the client and of kvctl.
    .target(
      name: "FakeNodes", dependencies: ["KVModel", "KVCore", "KVNet"], path: "Tests/FakeNodes", swiftSettings: habits),
    tests(
      "KVClientTests",
      [
        "KVModel", "KVNet", "KVClient", "KVClientCodable", "KVClientTesting", "FakeNodes", logging, lifecycle,
        coreMetrics, tracing, .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
      ]),
    tests("KVCtlTests", ["KVModel", "KVNet", "KVClient", "kvctl", "FakeNodes", argumentParser, histogram]),
    // A store in a process of its own, for the tests that kill it and make its disk fail.
    .executableTarget(
      name: "StorageDriver", dependencies: ["KVModel", "KVCore", "KVStorage"], path: "Tests/StorageDriver",
      swiftSettings: habits),
    tests("KVStorageTests", ["KVModel", "KVCore", "KVStorage", "KVSimulator", "StorageDriver"]),
    tests("KVSimulatorTests", ["KVModel", "KVCore", "KVSimulator"]),
    tests("KVSimTests", ["kvsim", "KVSimulator", "KVModel", "KVClient", "FakeNodes", argumentParser]),
    tests(
      "KVNodeTests",
      ["kvnode", "KVServer", "KVModel", "KVCore", "KVStorage", "KVNet", argumentParser, logging]),
  ]
)
