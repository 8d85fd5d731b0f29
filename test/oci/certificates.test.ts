/** Certificates of registries and for them, as certs.d has them. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, type TestContext, test } from "vitest";
import { registryCertificates } from "../../userspace/oci/certificates.ts";
import { image, tar } from "./fixtures/images.ts";
import { failure, makeRepository, pullInto } from "./fixtures/pulling.ts";
import { RegistryServer } from "./fixtures/registry-server.ts";

const one = image([{ tar: tar([{ path: "usr/" }]), compression: "gzip" }]);

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "certificates-"));
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** A key and a certificate for it, by itself. */
function selfSigned(name: string): { key: string; cert: string } {
  const paths = { key: join(scratch, `${name}.key`), cert: join(scratch, `${name}.cert`) };
  // biome-ignore format: arguments and their values
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", paths.key, "-out", paths.cert],
    { stdio: "ignore" });
  return { key: readFileSync(paths.key, "utf8"), cert: readFileSync(paths.cert, "utf8") };
}

function needsOpenssl(ctx: TestContext): void {
  if (spawnSync("openssl", ["version"]).status !== 0) ctx.skip("openssl is not installed");
}

test("a registry that wants to know who asks, and that only a CA of its own vouches for", async (ctx) => {
  needsOpenssl(ctx);
  const server = selfSigned("server");
  const client = selfSigned("client");
  const registry = await RegistryServer.start({ ...server, requestCert: true, ca: client.cert });
  try {
    for (const blob of [one.config, ...one.layers]) registry.blobs.set(blob.digest, blob.bytes);
    registry.manifests.set("v1", one.manifest);
    const directory = join(scratch, "user/containers/certs.d", registry.host);
    mkdirSync(directory, { recursive: true });
    const repo = makeRepository(join(scratch, "repo"));
    const places = { env: { XDG_CONFIG_HOME: join(scratch, "user") }, uid: 1000, system: [] };
    const pull = () => pullInto(repo, `docker://${registry.host}/x:v1`, { places });

    expect(await failure(pull())).toContain("self-signed certificate");
    writeFileSync(join(directory, "ca.crt"), server.cert);
    expect(await failure(pull())).toMatch(
      /certificate required|other side closed|ECONNRESET|alert/i,
    );
    writeFileSync(join(directory, "me.cert"), client.cert);
    writeFileSync(join(directory, "me.key"), client.key);
    expect((await pull()).manifestDigest).toBe(one.manifest.digest);
  } finally {
    await registry.close();
  }
});

test("half of a pair, and what is no certificate, is named", (ctx) => {
  needsOpenssl(ctx);
  const { key, cert } = selfSigned("x");
  const another = selfSigned("y");
  const env = { XDG_CONFIG_HOME: join(scratch, "half") };
  const directory = join(scratch, "half/containers/certs.d/h.io");
  mkdirSync(directory, { recursive: true });
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  const load = () => registryCertificates("h.io", env);
  write("a.cert", cert);
  expect(load).toThrow(
    expect.objectContaining({
      message: `${directory}/a.cert: expected a.key beside it`,
      hint: "a CA's certificate is named .crt",
    }),
  );
  write("a.key", another.key);
  expect(load).toThrow(`${directory}/a.key`);
  write("a.key", key);
  load();
  unlinkSync(join(directory, "a.cert"));
  expect(load).toThrow(`${directory}/a.key: expected a.cert beside it`);
  unlinkSync(join(directory, "a.key"));
  write("ca.crt", "no certificate");
  expect(load).toThrow(`${directory}/ca.crt`);
});
