"""The networks that `coverage` tries: of torchvision and of timm, as many designs as these two have."""

TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet1_0
mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16
"""
"""All designs that torchvision has: what else it lists are other widths, depths and patches of these."""

TIMM = """
bat_resnext26ts beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_lite_tiny coat_tiny
coatnet_nano_rw_224 convit_tiny convmixer_1024_20_ks9_p14 convnext_atto convnextv2_atto cpubone_nano crossvit_9_240
cs3darknet_s cspresnet50 cspnext_tiny csatv2 davit_tiny deit_tiny_distilled_patch16_224 deit3_small_patch16_224
densenetblur121d dla34 dla60_res2net dpn48b eca_nfnet_l0 ecaresnet26t edgenext_xx_small efficientformer_l1
efficientformerv2_s0 efficientnet_b0_gn efficientnet_cc_b0_4e efficientnet_lite0 efficientvim_m1 efficientvit_b0
efficientvit_l1 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 fbnetc_100 fbnetv3_b
focalnet_tiny_srf gcresnext26ts gcvit_xxtiny gernet_s ghostnet_100 ghostnetv2_100 ghostnetv3_100 gmlp_ti16_224
halonet26t hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2
inception_v4 lambda_resnet26t lcnet_050 lcnetv2_small legacy_seresnet18 legacy_xception levit_128s levit_conv_128s
lowformer_b0 mambaout_femto maxvit_nano_rw_256 mixer_s32_224 mixnet_s mobilenet_edgetpu_v2_xs mobilenetv1_100
mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny
nextvit_small nf_regnet_b0 nf_resnet26 pit_ti_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetv_040 regnetz_005
regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_26w_4s resmlp_12_224 resnest14d resnet51q resnetblur50
resnetrs50 resnetv2_50 rexnet_100 selecsls42 sequencer2d_s shvit_s1 skresnet18 spnasnet_100 starnet_s1
swiftformer_xs swin_s3_tiny_224 swinv2_cr_tiny_224 tf_efficientnet_lite0 tf_efficientnetv2_b0
tf_mobilenetv3_small_minimal_100 tiny_vit_5m_224 tinynet_e tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small
visformer_tiny vit_relpos_small_patch16_224 vit_small_patch16_rope_224 vit_tiny_patch16_224 vit_tiny_r_s16_p8_224
vitamin_small_224 volo_d1_224 xception41 xcit_nano_12_p16_224
"""
"""One size of each design."""

NAMES = (*(f"torchvision:{name}" for name in TORCHVISION.split()), *(f"timm:{name}" for name in TIMM.split()))
