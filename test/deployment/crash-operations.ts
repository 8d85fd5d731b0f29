/** What is done to machines when the power fails. */
import { setOriginImage } from "../../src/formats/origin.ts";
import type { EtcStrategy } from "../../src/model/etc/merge.ts";
import { planDelete, planRollback } from "../../src/model/menu-plan.ts";
import { bless } from "../../userspace/deployment/bless.ts";
import { changeMenu, setPinned } from "../../userspace/deployment/change.ts";
import { changeKargs, planKargs } from "../../userspace/deployment/karg.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { unlock } from "../../userspace/deployment/stage.ts";
import { writeOrigin } from "../../userspace/deployment/state.ts";
import { untagImage } from "../../userspace/oci/image.ts";
import type { ModelMachine } from "../model-disk/machine.ts";
import { type Act, collectAll, type Operation } from "./crash-proof.ts";
import { FIRST, FOURTH, type Scene, withLocal } from "./crash-scene.ts";

const staged = (from: ModelMachine, manifest: string, locked = false) => {
  const machine = from.copy();
  machine.stage(manifest, locked);
  return machine;
};

const secondStaged = ({ first, manifests }: Scene) => staged(first, manifests[1]);
const thirdStaged = ({ second, manifests }: Scene) => staged(second, manifests[2]);

/** Stages unless that is in the menu, and finalizes. */
const update =
  (which: 1 | 2, strategy?: EtcStrategy): Act =>
  (machine, { ids, manifests }) => {
    const has = machine.with((_host, _repository, { deployments }) =>
      deployments.some(({ id }) => id === ids[which]),
    );
    if (!has) machine.stage(manifests[which]);
    machine.finalize(strategy);
  };

const rollBackToFirst: Act = (machine, { ids }) =>
  machine.with((host, _repository, seen) => {
    const target = seen.deployments.find(({ id }) => id === ids[0])!;
    changeMenu(host, seen, planRollback(seen, target, true));
  });

const deleteFirst: Act = (machine, { ids }) =>
  machine.with((host, _repository, seen) => {
    const target = seen.deployments.find(({ id }) => id === ids[0]);
    if (target !== undefined) changeMenu(host, seen, planDelete(seen, target));
  });

const pin =
  (pinned: boolean): Act =>
  (machine) =>
    machine.with((host, _repository, seen) => {
      for (const one of seen.deployments) setPinned(host, one, pinned);
    });

const comeUp: Act = (machine) => machine.with((host, repository) => bless(host, repository));

const finalizeAll: Act = (machine) => machine.finalize();

/** A file in `/etc` that the second image has changed, too, and a directory where that has a file. */
const conflicting = (scene: Scene) =>
  withLocal(secondStaged(scene), { "app.conf": "mine\n", "only-14/mine": "mine\n" });

export const INSTALL: Operation = {
  name: "install: the first deployment",
  start: ({ empty }) => empty.copy(),
  act: (machine, { manifests }) => {
    const none = machine.with((_host, _repository, { deployments }) => deployments.length === 0);
    if (none) machine.stage(manifests[0]);
  },
};

export const STAGE: Operation = {
  name: "stage",
  start: ({ first }) => first.copy(),
  act: (machine, { manifests }) => machine.stage(manifests[1]),
  again: update(1),
};

export const PULL_AND_STAGE: Operation = {
  name: "pull and stage",
  start: ({ first }) => first.copy(),
  act: async (machine) => machine.stage(await machine.pull(FOURTH)),
  again: async (machine, { ids }) => {
    const manifest = await machine.pull(FOURTH);
    const booted = machine.with((_host, _repository, seen) => seen.deployments.length);
    if (booted === 1 && machine.running?.id === ids[0]) machine.stage(manifest);
    machine.finalize();
  },
};

export const STAGE_ANEW: Operation = {
  name: "stage in place of what is staged",
  start: ({ first, manifests }) => staged(first, manifests[2]),
  act: (machine, { manifests }) => machine.stage(manifests[1]),
  again: update(1),
};

export const UNLOCK: Operation = {
  name: "upgrade --from-downloaded",
  start: ({ first, manifests }) => staged(first, manifests[1], true),
  act: (machine) =>
    machine.with((host, _repository, { staged }) => {
      if (staged !== undefined) unlock(host, staged.id);
    }),
  again: update(1),
};

export const FINALIZE: Operation = {
  name: "finalize",
  start: secondStaged,
  act: finalizeAll,
  again: update(1),
};

/** Twice in the same boot, as when the service is started again. */
export const FINALIZE_TWICE: Operation = {
  name: "finalize twice",
  start: secondStaged,
  act: (machine) => {
    machine.finalize();
    machine.finalize();
  },
  again: update(1),
};

export const FINALIZE_OLDER_GOES: Operation = {
  name: "finalize, when an older one is dropped",
  start: thirdStaged,
  act: finalizeAll,
  again: update(2),
};

export const FINALIZE_WITH_CONFLICTS: readonly Operation[] = (
  ["keep-local", "take-image", "merge"] as const
).map((strategy) => ({
  name: `finalize with conflicts in /etc: ${strategy}`,
  start: conflicting,
  act: (machine) => machine.finalize(strategy),
  again: update(1, strategy),
}));

/** Which fails, and is decided about later. */
export const FINALIZE_FAILS: Operation = {
  name: "finalize that fails",
  start: conflicting,
  act: (machine) => {
    try {
      machine.finalize("fail");
    } catch (error) {
      if (!/conflicts in \/etc/.test(`${error}`)) throw error;
      return;
    }
    throw new Error("it has not failed");
  },
  again: update(1, "keep-local"),
};

export const ROLLBACK: Operation = {
  name: "rollback",
  start: ({ second }) => second.copy(),
  act: rollBackToFirst,
};

export const ROLLBACK_DROPS: Operation = {
  name: "rollback that drops what is staged",
  start: thirdStaged,
  act: rollBackToFirst,
};

export const DELETE: Operation = {
  name: "delete",
  start: ({ second }) => second.copy(),
  act: deleteFirst,
};

export const PIN: Operation = {
  name: "pin",
  start: ({ second }) => second.copy(),
  act: pin(true),
};

export const UNPIN: Operation = {
  name: "unpin",
  start: ({ second }) => {
    const machine = second.copy();
    machine.with((host, _repository, { deployments }) => {
      for (const one of deployments) setPinned(host, one, true);
    });
    return machine;
  },
  act: pin(false),
};

export const COLLECT: Operation = {
  name: "gc",
  start: (scene) => {
    const machine = thirdStaged(scene);
    machine.finalize();
    const booted = machine.booted();
    booted.with((_host, repository) => untagImage(repository, FIRST.version));
    return booted;
  },
  act: collectAll,
};

export const COMPLETE: Operation = {
  name: "boot-complete",
  start: ({ second }) => second.copy(),
  act: comeUp,
};

const addKarg: Act = (machine) =>
  machine.with((host, repository, { deployments, booted }) => {
    if (booted?.entry.bls.options?.includes("added")) return;
    const plan = planKargs(deployments, [{ edit: "add", karg: "added" }]);
    changeKargs(host, observe(host, repository).seen, plan);
  });

export const KARG: Operation = {
  name: "karg",
  start: ({ second }) => second.copy(),
  act: addKarg,
};

export const KARG_OF_STAGED: Operation = {
  name: "karg, when something is staged",
  start: thirdStaged,
  act: addKarg,
};

export const SWITCH_IN_PLACE: Operation = {
  name: "switch --in-place",
  start: ({ second }) => second.copy(),
  act: (machine) =>
    machine.with((host, _repository, { booted }) => {
      const origin = booted!.state!.origin!;
      const image = { transport: "registry", name: "example.org/b", signature: undefined } as const;
      writeOrigin(host, booted!.id, setOriginImage(origin, image));
    }),
};
