/** The kernel arguments of deployments that the boot menu has lost. */
import { HintedError } from "../../src/linux/hint.ts";
import type { Observation } from "../../src/model/deployments.ts";
import { composefsArgument, nextOptions } from "../../src/model/kargs.ts";
import { withLocalKargs } from "../../src/model/local-kargs.ts";
import { entryOptions } from "../../src/model/menu-repair.ts";
import type { Tree } from "../../src/model/tree.ts";
import { currentPlatform } from "../oci/platform.ts";
import type { Repository } from "../repository/repository.ts";
import type { Host } from "./host.ts";
import { kargsOf, readImageTree } from "./image-facts.ts";

/** Of which deployment, and what they were. */
interface Known {
  readonly id: string;
  readonly options: string;
}

/**
 * What they were: those of the entry in the staged menu, if that has one; those that the running kernel has; or those of
 * another deployment, with what the images' own arguments differ in. `tree` is of the deployment's image. Throws an error if
 * nothing of the kind is known.
 */
export function optionsAgain(
  host: Host,
  repository: Repository,
  seen: Observation,
  id: string,
  tree: Tree,
): string {
  const runs = id === host.running?.id;
  const insecure = runs
    ? host.running.insecure
    : repository.insecure && host.running?.insecure !== false;
  const known = knownOptions(host, seen);
  const own = known.find((one) => one.id === id);
  const [other] = known;
  if (own === undefined && other === undefined) {
    throw new HintedError(
      "the kernel's arguments are not known: no entry is left, and no kernel runs that has them",
      "--cmdline names them",
    );
  }
  const composefs = composefsArgument(id, insecure);
  if (own !== undefined) return nextOptions(own.options, [], [], composefs);
  const { architecture } = currentPlatform();
  const before = kargsOf(repository, readImageTree(repository, other!.id), architecture);
  const after = kargsOf(repository, tree, architecture);
  const options = nextOptions(other!.options, before, after, composefs);
  const origin = seen.states.find((state) => state.id === id)?.origin;
  return origin === undefined ? options : withLocalKargs(options, origin.kargs);
}

function knownOptions({ running, cmdline }: Host, { menu, stagedMenu = [] }: Observation): Known[] {
  const ofKernel =
    running === undefined || cmdline === undefined
      ? []
      : [{ id: running.id, options: entryOptions(cmdline) }];
  const ofEntries = [...stagedMenu, ...menu].map(({ id, bls }) => ({
    id,
    options: bls.options ?? "",
  }));
  // what a person has typed in the menu counts for that boot alone
  const entries = ofEntries.filter(({ id }) => id === running?.id);
  return [...entries, ...ofKernel, ...ofEntries];
}
