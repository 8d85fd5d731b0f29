/** Where the images of deployments came from: their tags do not tell it, but their origins do. */
import { dirname } from "node:path";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { sourceOf } from "./references.ts";
import { readStates } from "./state.ts";

/** By the digests of their manifests, of the deployments on the physical root that has a repository; none where there are none. */
export function deploymentSources(linux: Linux, repositoryPath: string): Map<string, string[]> {
  const sources = new Map<string, string[]>();
  let sysroot: number;
  try {
    sysroot = linux.openat(AT_FDCWD, dirname(repositoryPath), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } catch (error) {
    if (isErrno(error, "EACCES")) return sources;
    throw error;
  }
  try {
    for (const { origin } of readStates({ linux, sysroot })) {
      const { image, manifestDigest } = origin ?? {};
      if (image === undefined || manifestDigest === undefined) continue;
      sources.set(manifestDigest, [...(sources.get(manifestDigest) ?? []), sourceOf(image)]);
    }
    return sources;
  } finally {
    linux.close(sysroot);
  }
}
