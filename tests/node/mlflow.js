// Drives the npm package mlflow 2.0.7 against a live server: URL and KEY come from the environment. It ends with 0 when all is as
// it should be. Known errors of the package itself: it prints every body, builds ".../experimentsset-experiment-tag", and has no
// class for the model registry, which is reached by its own request function.
'use strict';
const assert = require('node:assert/strict');
const MLflow = require('mlflow');
console.log = () => {};

const client = new MLflow({ endpoint: process.env.URL, headers: { Authorization: `Bearer ${process.env.KEY}` } });
const refused = async (call, status, code) => {
  const error = await call.then(() => assert.fail('it was not refused'), e => JSON.parse(e.message.replace(/^Error: /, '')));
  assert.deepEqual([error.status, error.data.error_code], [status, code]);
};

(async () => {
  const { Experiments, Runs, Metrics, Artifacts } = client;

  // Experiments.
  const { experiment_id } = await Experiments.create({ name: 'npm' });
  await refused(Experiments.create({ name: 'npm' }), 400, 'RESOURCE_ALREADY_EXISTS');
  assert.deepEqual((await Experiments.list()).experiments.map(e => e.name).sort(), ['Default', 'npm']);
  await Experiments.update({ experiment_id, new_name: 'npm2' });
  assert.equal((await Experiments.get({ experiment_id })).experiment.name, 'npm2');
  await Experiments.delete({ experiment_id });
  assert.deepEqual((await Experiments.list({ view_type: 'DELETED_ONLY' })).experiments.map(e => e.name), ['npm2']);
  await Experiments.restore({ experiment_id });
  await refused(Experiments.setExperimentTag({ experiment_id, key: 'k', value: 'v' }), 404, 'ENDPOINT_NOT_FOUND');

  // Runs, metrics, parameters, tags.
  const created = await Runs.create({ experiment_id, user_id: 'npm', start_time: 1700000000000, tags: [{ key: 'made', value: 'by npm' }] });
  const run_id = created.run.info.run_id;
  await Runs.logMetric({ run_id, key: 'loss', value: 0.5, timestamp: 1700000000001, step: 1 });
  await Runs.logMetric({ run_id, key: 'loss', value: 0.25, timestamp: 1700000000002, step: 2 });
  await Runs.logParameter({ run_id, key: 'depth', value: '3' });
  await refused(Runs.logParameter({ run_id, key: 'depth', value: '4' }), 400, 'INVALID_PARAMETER_VALUE');
  await Runs.setTag({ run_id, key: 'gone', value: 'soon' });
  await Runs.deleteTag({ run_id, key: 'gone' });
  await Runs.logBatch({ run_id, metrics: [{ key: 'auc', value: 0.9, timestamp: 1700000000003, step: 0 }], params: [{ key: 'width', value: '4' }], tags: [{ key: 't', value: 'v' }] });
  await Runs.update({ run_id, status: 'FINISHED', end_time: 1700000001000 });
  const { run } = await Runs.get({ run_id });
  assert.deepEqual([run.info.run_uuid, run.info.status, run.info.user_id, run.info.end_time], [run_id, 'FINISHED', 'npm', 1700000001000]);
  assert.deepEqual(run.data.metrics.map(m => [m.key, m.value, m.step]), [['auc', 0.9, 0], ['loss', 0.25, 2]]);
  assert.deepEqual(run.data.params, [{ key: 'depth', value: '3' }, { key: 'width', value: '4' }]);
  assert.deepEqual(run.data.tags.filter(t => !t.key.startsWith('mlflow.')), [{ key: 'made', value: 'by npm' }, { key: 't', value: 'v' }]);

  // The client sends no max_results, for which MLflow 3.11 gives nothing.
  assert.deepEqual((await Metrics.getHistory({ run_id, metric_key: 'loss' })).metrics.map(m => [m.step, m.value]), [[1, 0.5], [2, 0.25]]);

  // Search in pages.
  for (const step of [1, 2, 3]) {
    const next = await Runs.create({ experiment_id, start_time: 1700000000000 + step });
    await Runs.logMetric({ run_id: next.run.info.run_id, key: 'auc', value: step / 10, timestamp: 1, step: 0 });
  }
  const found = [];
  let page_token;
  do {
    const page = await Runs.search({ experiment_ids: [experiment_id], filter: 'metrics.auc > 0.1', order_by: ['metrics.auc DESC'], max_results: 2, page_token });
    found.push(...page.runs.map(r => r.data.metrics.find(m => m.key === 'auc').value));
    page_token = page.next_page_token;
  } while (page_token);
  assert.deepEqual(found, [0.9, 0.3, 0.2]);
  await refused(Runs.search({ experiment_ids: [experiment_id], filter: 'a OR b' }), 400, 'INVALID_PARAMETER_VALUE');

  await Runs.delete({ run_id });
  await refused(Runs.setTag({ run_id, key: 'a', value: 'b' }), 400, 'INVALID_PARAMETER_VALUE');
  await Runs.restore({ run_id });
  await refused(Runs.get({ run_id: 'none' }), 404, 'RESOURCE_DOES_NOT_EXIST');

  // Artifacts: the package lists them; they go up by plain PUT.
  const put = await fetch(`${process.env.URL}/api/2.0/mlflow-artifacts/artifacts/${experiment_id}/${run_id}/artifacts/model/MLmodel`, { method: 'PUT', headers: client.headers, body: 'flavors: {}' });
  assert.equal(put.status, 200);
  const listed = await Artifacts.list({ run_id, path: 'model' });
  assert.deepEqual([listed.root_uri, listed.files], [run.info.artifact_uri, [{ path: 'model/MLmodel', is_dir: false, file_size: 11 }]]);

  // The registry.
  const { registered_model } = await client.req('post', 'registered-models/create', { name: 'npm-model', tags: [{ key: 'team', value: 'ops' }] });
  assert.equal(registered_model.name, 'npm-model');
  const { model_version } = await client.req('post', 'model-versions/create', { name: 'npm-model', source: `runs:/${run_id}/model`, run_id });
  assert.deepEqual([model_version.version, model_version.status, model_version.run_id], ['1', 'READY', run_id]);
  await client.req('post', 'registered-models/alias', { name: 'npm-model', alias: 'best', version: '1' });
  assert.equal((await client.req('get', 'registered-models/alias', { name: 'npm-model', alias: 'best' })).model_version.version, '1');
  assert.equal((await client.req('get', 'model-versions/get-download-uri', { name: 'npm-model', version: '1' })).artifact_uri, `${run.info.artifact_uri}/model`);
  assert.deepEqual((await client.req('get', 'registered-models/search', { filter: "name LIKE 'npm%'" })).registered_models.map(m => m.aliases), [[{ alias: 'best', version: '1' }]]);
  await client.req('patch', 'model-versions/update', { name: 'npm-model', version: '1', description: 'from npm' });
  assert.equal((await client.req('get', 'model-versions/get', { name: 'npm-model', version: '1' })).model_version.description, 'from npm');

  const stranger = new MLflow({ endpoint: process.env.URL });
  await refused(stranger.Experiments.get({ experiment_id }), 401, 'UNAUTHENTICATED');
})().catch(error => {
  console.error(error);
  process.exitCode = 1;
});
