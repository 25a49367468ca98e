// What a dashboard of docker/grafana/dashboards/ may be: Grafana's own types, where each kind of panel that is used has
// its options and its custom fields too. ./generate.sh makes schema.json of it.
import type { Dashboard, FieldConfig, Panel, RowPanel } from '@grafana/schema';
import type * as Heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Grafana fills in what is left out.
type DeepPartial<T> = T extends (infer U)[]
  ? DeepPartial<U>[]
  : T extends object
    ? { [K in keyof T]?: DeepPartial<T[K]> }
    : T;

interface Of<Type extends string, Options, Custom> extends Omit<Panel, 'type' | 'options' | 'fieldConfig'> {
  type: Type;
  options?: DeepPartial<Options>;
  fieldConfig?: {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: DeepPartial<Custom> };
    overrides: NonNullable<Panel['fieldConfig']>['overrides'];
  };
}

export interface Shape extends Omit<Dashboard, 'panels'> {
  panels: Array<
    | RowPanel
    | Of<'heatmap', Heatmap.Options, Heatmap.FieldConfig>
    | Of<'stat', Stat.Options, {}>
    | Of<'table', Table.Options, Table.FieldConfig>
    | Of<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  >;
}
