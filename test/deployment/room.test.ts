/** The power fails while deployments go to make room for a kernel. */
import { expect, test } from "vitest";
import { makeBootRoom } from "../../userspace/deployment/room.ts";
import { type Act, prove, SAMPLED } from "./crash-proof.ts";
import { sceneOf } from "./crash-scene.ts";

/** For a kernel that is not there yet. */
const NEW = {
  kernel: {
    release: "6.15",
    digest: "",
    size: 1,
    source: { kind: "linux" as const, vmlinuz: () => [], initrd: () => [] },
  },
  artifact: "ab".repeat(64),
  missing: [],
};

/** Without the first one, and without what is staged. */
const makeRoom: Act = (machine, { ids }) =>
  machine.with((host, _repository, seen) => {
    const gone = seen.deployments.filter((one) => one.id === ids[0] || one === seen.staged);
    makeBootRoom(host, seen, gone, NEW);
  });

test("what runs boots, and what is to go boots whole or is gone", {
  timeout: 600_000,
}, async () => {
  const scene = await sceneOf("an ESP");
  const start = () => {
    const machine = scene.second.copy();
    machine.stage(scene.manifests[2]);
    return machine;
  };
  const count = await prove(scene, { start, act: makeRoom }, SAMPLED);
  expect(count).toBeGreaterThan(50);
});
