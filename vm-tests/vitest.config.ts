import { defineConfig } from "vitest/config";

const MINUTE = 60_000;

export default defineConfig({
  test: {
    include: ["vm-tests/**/*.test.ts"],
    globalSetup: ["vm-tests/harness/prepare.ts"],
    // a boot has its own, shorter limit; this one is for two boots, each tried twice
    testTimeout: 25 * MINUTE,
    // removes disks, which takes long where others write
    hookTimeout: 5 * MINUTE,
    // two machines at a time, whatever the number of processors: more only makes each one slower
    fileParallelism: false,
    sequence: { concurrent: true },
    maxConcurrency: 2,
  },
});
