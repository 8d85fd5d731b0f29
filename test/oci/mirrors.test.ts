/** Several registries for one image: mirrors, and what is sent to which. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { SourceOptions } from "../../userspace/oci/open.ts";
import { type Image, image, tar } from "./fixtures/images.ts";
import { failure, makeRepository, pullInto } from "./fixtures/pulling.ts";
import { RegistryServer } from "./fixtures/registry-server.ts";

const one = image([{ tar: tar([{ path: "usr/" }]), compression: "gzip" }]);
const other = image([{ tar: tar([{ path: "usr/" }, { path: "usr/x" }]), compression: "none" }]);

let scratch: string;
let repo: string;
let mirror: RegistryServer;
let primary: RegistryServer;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "mirrors-"));
  repo = makeRepository(join(scratch, "repo"));
  mirror = await RegistryServer.start();
  primary = await RegistryServer.start();
});
afterEach(async () => {
  await mirror.close();
  await primary.close();
  rmSync(scratch, { recursive: true });
});

function serve(server: RegistryServer, { manifest, config, layers }: Image): void {
  for (const blob of [config, ...layers]) server.blobs.set(blob.digest, blob.bytes);
  for (const key of [manifest.digest, "v1"]) server.manifests.set(key, manifest);
}

/** `named.example/team` is at the primary's, after the mirror. */
function configure(settings = "", more = ""): Pick<SourceOptions, "places"> {
  const system = join(scratch, "etc");
  mkdirSync(system, { recursive: true });
  writeFileSync(
    join(system, "registries.conf"),
    `${more}
    [[registry]]
    prefix = "named.example/team"
    location = "${primary.host}/real"
    [[registry.mirror]]
    location = "${mirror.host}/copy"
    ${settings}`,
  );
  return { places: { env: { HOME: scratch }, uid: 1000, system: [system] } };
}

const pull = (options: Partial<SourceOptions>, which = ":v1") =>
  pullInto(repo, `docker://named.example/team/app${which}`, options);

test("the mirror first; the primary is left alone", async () => {
  serve(mirror, one);
  serve(primary, other);
  expect((await pull(configure())).manifestDigest).toBe(one.manifest.digest);
  expect(primary.requests).toEqual([]);
  expect(new Set(mirror.requests.map(({ path }) => path.split("/").slice(0, 4).join("/")))).toEqual(
    new Set(["/v2/", "/v2/copy/app"]),
  );
});

test("the primary, where the mirror has no such image, is broken, or is not there", async () => {
  serve(primary, one);
  const options = configure();
  expect((await pull(options)).manifestDigest).toBe(one.manifest.digest);
  expect(primary.requests.at(-1)?.path).toContain("/v2/real/app/");
  mirror.intercept = (_, response) => {
    response.statusCode = 503;
    response.end();
    return true;
  };
  mirror.requests.length = 0;
  expect((await pull(options)).manifestDigest).toBe(one.manifest.digest);
  expect(mirror.requests).toHaveLength(2);
  await mirror.close();
  expect((await pull(options)).manifestDigest).toBe(one.manifest.digest);
  mirror = await RegistryServer.start();
});

test("when none has it, the primary's answer counts, and the mirror's is told as well", async () => {
  const promise = pull(configure());
  expect(await failure(promise)).toContain(
    `${primary.host}/real/app:v1: http://${primary.host}/v2/real/app/manifests/v1: HTTP status 404`,
  );
  await promise.catch(({ hint }) =>
    expect(hint).toContain(`mirror ${mirror.host}/copy/app:v1 failed: http://${mirror.host}`),
  );
});

test("a mirror for digests only is not asked for tags", async () => {
  serve(mirror, one);
  serve(primary, other);
  const options = configure('pull-from-mirror = "digest-only"');
  expect((await pull(options)).manifestDigest).toBe(other.manifest.digest);
  const { manifestDigest } = await pull(options, `@${one.manifest.digest}`);
  expect(manifestDigest).toBe(one.manifest.digest);
});

test("a mirror that has another manifest under a digest is not believed", async () => {
  serve(primary, one);
  mirror.manifests.set(one.manifest.digest, other.manifest);
  const { manifestDigest } = await pull(configure(), `@${one.manifest.digest}`);
  expect(manifestDigest).toBe(one.manifest.digest);
});

test("each gets its own credentials, and those of the command line go where they were meant for", async () => {
  serve(primary, one);
  const authorizations = (server: RegistryServer) => {
    const seen = new Set<string | undefined>();
    server.intercept = (request, response) => {
      const { authorization } = request.headers;
      seen.add(authorization && Buffer.from(authorization.slice(6), "base64").toString());
      if (authorization !== undefined && server === primary) return false;
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      return true;
    };
    return seen;
  };
  const atMirror = authorizations(mirror);
  const atPrimary = authorizations(primary);
  const auth = (text: string) => ({ auth: Buffer.from(text).toString("base64") });
  const authfile = join(scratch, "auth.json");
  writeFileSync(
    authfile,
    JSON.stringify({
      auths: { [`${mirror.host}/copy`]: auth("m:m"), [primary.host]: auth("p:p") },
    }),
  );
  await pull({ ...configure(), authfile });
  expect(atMirror).toEqual(new Set([undefined, "m:m"]));
  expect(atPrimary).toEqual(new Set([undefined, "p:p"]));

  atMirror.clear();
  atPrimary.clear();
  await failure(pull({ ...configure(), creds: "secret:secret" }));
  expect([...atMirror, ...atPrimary]).toEqual([undefined, undefined]);
});

test("a blocked registry is not asked", async () => {
  const options = configure(
    "",
    '[[registry]]\nlocation = "named.example/team/app"\nblocked = true',
  );
  const promise = pull(options);
  expect(await failure(promise)).toBe("named.example/team/app is blocked");
  await promise.catch(({ hint }) => expect(hint).toContain("registries.conf"));
  expect([...mirror.requests, ...primary.requests]).toEqual([]);
});
